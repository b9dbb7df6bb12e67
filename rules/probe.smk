TARGET = "probes/{network}/calibration/{instance}.json"


rule calibrate:
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
    threads: PLAN.compute.threads
    resources:
        **need(TARGET),
    params:
        **job(TARGET),
    message:
        "calibrate {wildcards.instance} on {wildcards.network}"
    shell:
        command("calibrate")


TARGET = "probes/{network}/prepared/{instance}.safetensors"


rule prepare:
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
    threads: PLAN.compute.threads
    resources:
        **need(TARGET),
    params:
        **job(TARGET),
    message:
        "prepare {wildcards.instance} of {wildcards.network}"
    shell:
        command("prepare")


TARGET = "probes/{network}/{against}/{family}"


rule probe:
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
        "probe   {wildcards.family} of {wildcards.network} ({wildcards.against})"
    shell:
        command("probe")
