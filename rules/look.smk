TARGET = "looks/{number}.json"


checkpoint look:
    input:
        inputs(TARGET),
    output:
        f"{ROOT}/{TARGET}",
    log:
        log_of(TARGET),
    benchmark:
        benchmark_of(TARGET)
    priority: first(TARGET)
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need(TARGET, gpus=0),
    params:
        **job(TARGET),
    message:
        "look    {wildcards.number}"
    shell:
        command("look")
