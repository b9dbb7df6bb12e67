rule tables:
    input:
        inputs("tables"),
    output:
        shown("tables", "Tables", ".csv"),
    log:
        f"{ROOT}/logs/tables.log",
    benchmark:
        f"{ROOT}/benchmarks/tables.tsv"
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need("tables", gpus=0),
    params:
        **job("tables"),
    message:
        "tables"
    shell:
        command("tables")


rule figures:
    input:
        inputs("figures"),
    output:
        shown("figures", "Figures", ".svg"),
    log:
        f"{ROOT}/logs/figures.log",
    benchmark:
        f"{ROOT}/benchmarks/figures.tsv"
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need("figures", gpus=0),
    params:
        **job("figures"),
    message:
        "figures"
    shell:
        command("figures")


rule report:
    input:
        inputs("report.html"),
    output:
        shown("report.html", "Report", ".html"),
    log:
        f"{ROOT}/logs/report.log",
    benchmark:
        f"{ROOT}/benchmarks/report.tsv"
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need("report.html", gpus=0),
    params:
        **job("report.html"),
    message:
        "report  {output}"
    shell:
        command("report")
