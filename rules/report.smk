rule tables:
    input:
        inputs("tables"),
    output:
        outputs("tables"),
    params:
        slice=settings("tables"),
        code=code("tables"),
        out=f"{ROOT}/tables",
    log:
        f"{ROOT}/logs/tables.log",
    benchmark:
        f"{ROOT}/benchmarks/tables.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    conda:
        "../envs/kdpipe.yaml"
    message:
        "tables"
    shell:
        "python -m kdpipe tables --root {ROOT} --out {params.out} "
        "--slice {params.slice:q} " + TO_LOG


rule figures:
    input:
        inputs("figures"),
    output:
        outputs("figures"),
    params:
        slice=settings("figures"),
        code=code("figures"),
        out=f"{ROOT}/figures",
    log:
        f"{ROOT}/logs/figures.log",
    benchmark:
        f"{ROOT}/benchmarks/figures.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    conda:
        "../envs/kdpipe.yaml"
    message:
        "figures"
    shell:
        "python -m kdpipe figures --root {ROOT} --out {params.out} "
        "--slice {params.slice:q} " + TO_LOG


rule report:
    input:
        inputs("report.html"),
    output:
        outputs("report.html"),
    params:
        slice=settings("report.html"),
        code=code("report.html"),
    log:
        f"{ROOT}/logs/report.log",
    benchmark:
        f"{ROOT}/benchmarks/report.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    conda:
        "../envs/kdpipe.yaml"
    message:
        "report  {output}"
    shell:
        "python -m kdpipe report --root {ROOT} --out {output} --slice {params.slice:q} " + TO_LOG
