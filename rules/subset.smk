rule pick_subset:
    output:
        f"{ROOT}/subset/{{set}}/index.parquet",
        f"{ROOT}/subset/{{set}}/pixels.npy",
        f"{ROOT}/subset/{{set}}/subset.json",
    params:
        slice=settings("subset/{set}"),
        code=code("subset/{set}"),
        out=f"{ROOT}/subset/{{set}}",
    log:
        f"{ROOT}/logs/subset/{{set}}.log",
    benchmark:
        f"{ROOT}/benchmarks/subset/{{set}}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    conda:
        "../envs/kdpipe.yaml"
    message:
        "subset  {wildcards.set}"
    shell:
        "python -m kdpipe subset --out {params.out} --slice {params.slice:q} " + TO_LOG
