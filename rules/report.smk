rule tables:
    input:
        inputs("tables"),
    output:
        outputs("tables"),
    log:
        f"{ROOT}/logs/tables.log",
    benchmark:
        f"{ROOT}/benchmarks/tables.tsv"
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need("tables", gpu=False),
    params:
        **job("tables"),
    message:
        "tables"
    shell:
        f"exec python -m kdpipe tables {ARGUMENTS}"


rule figures:
    input:
        inputs("figures"),
    output:
        outputs("figures"),
    log:
        f"{ROOT}/logs/figures.log",
    benchmark:
        f"{ROOT}/benchmarks/figures.tsv"
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need("figures", gpu=False),
    params:
        **job("figures"),
    message:
        "figures"
    shell:
        f"exec python -m kdpipe figures {ARGUMENTS}"


rule report:
    input:
        inputs("report.html"),
    output:
        outputs("report.html"),
    log:
        f"{ROOT}/logs/report.log",
    benchmark:
        f"{ROOT}/benchmarks/report.tsv"
    conda:
        "../envs/kdpipe.yaml"
    threads: 1
    resources:
        **need("report.html", gpu=False),
    params:
        **job("report.html"),
    message:
        "report  {output}"
    shell:
        f"exec python -m kdpipe report {ARGUMENTS}"
