rule gate:
    input:
        inputs("gate/{looked_at}"),
    output:
        directory(f"{ROOT}/gate/{{looked_at}}"),
    log:
        f"{ROOT}/logs/gate/{{looked_at}}.log",
    benchmark:
        f"{ROOT}/benchmarks/gate/{{looked_at}}.tsv"
    priority: first("gate/{looked_at}")
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.compute.threads
    resources:
        **need("gate/{looked_at}"),
    params:
        **job("gate/{looked_at}"),
    message:
        "gate    {wildcards.looked_at}"
    shell:
        command("gate")
