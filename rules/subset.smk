rule pick_subset:
    output:
        f"{ROOT}/subset/{{set}}/index.parquet",
        f"{ROOT}/subset/{{set}}/pixels.npy",
        f"{ROOT}/subset/{{set}}/subset.json",
    log:
        f"{ROOT}/logs/subset/{{set}}.log",
    benchmark:
        f"{ROOT}/benchmarks/subset/{{set}}.tsv"
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need("subset/{set}", gpu=False),
    params:
        **job("subset/{set}"),
    message:
        "subset  {wildcards.set}"
    shell:
        f"exec python -m kdpipe subset {ARGUMENTS}"
