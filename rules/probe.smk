rule calibrate:
    input:
        inputs("probes/{network}/calibration/{instance}.json"),
    output:
        f"{ROOT}/probes/{{network}}/calibration/{{instance}}.json",
    log:
        f"{ROOT}/logs/probes/{{network}}/calibration/{{instance}}.log",
    benchmark:
        f"{ROOT}/benchmarks/probes/{{network}}/calibration/{{instance}}.tsv"
    priority: first("probes/{network}/calibration/{instance}.json")
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.compute.threads
    resources:
        **need("probes/{network}/calibration/{instance}.json"),
    params:
        **job("probes/{network}/calibration/{instance}.json"),
    message:
        "calibrate {wildcards.instance} on {wildcards.network}"
    shell:
        command("calibrate")


rule probe:
    input:
        inputs("probes/{network}/{against}/{family}"),
    output:
        directory(f"{ROOT}/probes/{{network}}/{{against}}/{{family}}"),
    log:
        f"{ROOT}/logs/probes/{{network}}/{{against}}/{{family}}.log",
    benchmark:
        f"{ROOT}/benchmarks/probes/{{network}}/{{against}}/{{family}}.tsv"
    priority: first("probes/{network}/{against}/{family}")
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.compute.threads
    resources:
        **need("probes/{network}/{against}/{family}"),
    params:
        **job("probes/{network}/{against}/{family}"),
    message:
        "probe   {wildcards.family} of {wildcards.network} ({wildcards.against})"
    shell:
        command("probe")
