TARGET = "subset/{set}"


rule pick_subset:
    output:
        index=f"{ROOT}/{TARGET}/index.parquet",
        pixels=f"{ROOT}/{TARGET}/pixels.npy",
        about=f"{ROOT}/{TARGET}/subset.json",
    log:
        log_of(TARGET),
    benchmark:
        benchmark_of(TARGET)
    cache: CACHE
    priority: first(TARGET)
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need(TARGET, gpus=0),
    params:
        **shared(TARGET),
    message:
        "subset  {wildcards.set}"
    shell:
        command("subset")
