TARGET = "tables"


rule tables:
    input:
        inputs(TARGET),
    output:
        shown(TARGET, "Tables", ".csv"),
    log:
        log_of(TARGET),
    benchmark:
        benchmark_of(TARGET)
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need(TARGET, gpus=0),
    params:
        **job(TARGET),
    message:
        "tables"
    shell:
        command("tables")


TARGET = "figures"


rule figures:
    input:
        inputs(TARGET),
    output:
        shown(TARGET, "Figures", ".svg"),
    log:
        log_of(TARGET),
    benchmark:
        benchmark_of(TARGET)
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need(TARGET, gpus=0),
    params:
        **job(TARGET),
    message:
        "figures"
    shell:
        command("figures")


TARGET = "report.html"


rule report:
    input:
        inputs(TARGET),
    output:
        shown(TARGET, "Report", ".html"),
    log:
        log_of(TARGET),
    benchmark:
        benchmark_of(TARGET)
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need(TARGET, gpus=0),
    params:
        **job(TARGET),
    message:
        "report  {output}"
    shell:
        command("report")
