TARGET = "gate/{looked_at}"


rule gate:
    input:
        inputs(TARGET),
    output:
        directory(f"{ROOT}/{TARGET}"),
    log:
        log_of(TARGET),
    benchmark:
        benchmark_of(TARGET)
    priority: first(TARGET)
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.compute.threads
    resources:
        **need(TARGET),
    params:
        **job(TARGET),
    message:
        "gate    {wildcards.looked_at}"
    shell:
        command("gate")
