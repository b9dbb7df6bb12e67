rule calibrate:
    input:
        inputs("probes/{network}/calibration/{instance}.json"),
    output:
        f"{ROOT}/probes/{{network}}/calibration/{{instance}}.json",
    params:
        slice=settings("probes/{network}/calibration/{instance}.json"),
        code=code("probes/{network}/calibration/{instance}.json"),
    log:
        f"{ROOT}/logs/probes/{{network}}/calibration/{{instance}}.log",
    benchmark:
        f"{ROOT}/benchmarks/probes/{{network}}/calibration/{{instance}}.tsv"
    threads: PLAN.compute.threads
    resources:
        mem_mb=4000,
        runtime=60,
    conda:
        "../envs/kdpipe.yaml"
    message:
        "calibrate {wildcards.instance} on {wildcards.network}"
    shell:
        "python -m kdpipe calibrate --root {ROOT} --out {output} "
        "--slice {params.slice:q} " + TO_LOG


rule probe:
    input:
        inputs("probes/{network}/{against}/{family}"),
    output:
        directory(f"{ROOT}/probes/{{network}}/{{against}}/{{family}}"),
    params:
        slice=settings("probes/{network}/{against}/{family}"),
        code=code("probes/{network}/{against}/{family}"),
    log:
        f"{ROOT}/logs/probes/{{network}}/{{against}}/{{family}}.log",
    benchmark:
        f"{ROOT}/benchmarks/probes/{{network}}/{{against}}/{{family}}.tsv"
    threads: PLAN.compute.threads
    resources:
        mem_mb=4000,
        runtime=60,
    conda:
        "../envs/kdpipe.yaml"
    message:
        "probe   {wildcards.family} of {wildcards.network} ({wildcards.against})"
    shell:
        "python -m kdpipe probe --root {ROOT} --out {output} --slice {params.slice:q} " + TO_LOG
