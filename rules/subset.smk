rule pick_subset:
    output:
        index=f"{ROOT}/subset/{{set}}/index.parquet",
        pixels=f"{ROOT}/subset/{{set}}/pixels.npy",
        about=f"{ROOT}/subset/{{set}}/subset.json",
    log:
        f"{ROOT}/logs/subset/{{set}}.log",
    benchmark:
        f"{ROOT}/benchmarks/subset/{{set}}.tsv"
    cache: CACHE
    priority: first("subset/{set}")
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need("subset/{set}", gpus=0),
    params:
        **shared("subset/{set}"),
    message:
        "subset  {wildcards.set}"
    shell:
        command("subset")
