rule train:
    input:
        inputs("models/{model}/seed{seed}"),
    output:
        f"{ROOT}/models/{{model}}/seed{{seed}}/model.safetensors",
        f"{ROOT}/models/{{model}}/seed{{seed}}/model.json",
        f"{ROOT}/models/{{model}}/seed{{seed}}/history.parquet",
    params:
        slice=settings("models/{model}/seed{seed}"),
        code=code("models/{model}/seed{seed}"),
        out=f"{ROOT}/models/{{model}}/seed{{seed}}",
    log:
        f"{ROOT}/logs/models/{{model}}/seed{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/models/{{model}}/seed{{seed}}.tsv"
    threads: PLAN.compute.threads
    resources:
        mem_mb=4000,
        runtime=240,
    conda:
        "../envs/kdpipe.yaml"
    message:
        "train   {wildcards.model}, seed {wildcards.seed}"
    shell:
        "python -m kdpipe train --root {ROOT} --out {params.out} --code {params.code} "
        "--slice {params.slice:q} " + TO_LOG


rule teacher_outputs:
    input:
        inputs("teacher_outputs/{pair}.safetensors"),
    output:
        f"{ROOT}/teacher_outputs/{{pair}}.safetensors",
    params:
        slice=settings("teacher_outputs/{pair}.safetensors"),
        code=code("teacher_outputs/{pair}.safetensors"),
    log:
        f"{ROOT}/logs/teacher_outputs/{{pair}}.log",
    benchmark:
        f"{ROOT}/benchmarks/teacher_outputs/{{pair}}.tsv"
    threads: PLAN.compute.threads
    resources:
        mem_mb=4000,
        runtime=60,
    conda:
        "../envs/kdpipe.yaml"
    message:
        "teacher outputs for pair {wildcards.pair}"
    shell:
        "python -m kdpipe teacher_outputs --root {ROOT} --out {output} "
        "--slice {params.slice:q} " + TO_LOG


rule distil:
    input:
        inputs("students/{pair}/{method}/seed{seed}"),
    output:
        f"{ROOT}/students/{{pair}}/{{method}}/seed{{seed}}/model.safetensors",
        f"{ROOT}/students/{{pair}}/{{method}}/seed{{seed}}/model.json",
        f"{ROOT}/students/{{pair}}/{{method}}/seed{{seed}}/history.parquet",
    params:
        slice=settings("students/{pair}/{method}/seed{seed}"),
        code=code("students/{pair}/{method}/seed{seed}"),
        out=f"{ROOT}/students/{{pair}}/{{method}}/seed{{seed}}",
    log:
        f"{ROOT}/logs/students/{{pair}}/{{method}}/seed{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/students/{{pair}}/{{method}}/seed{{seed}}.tsv"
    threads: PLAN.compute.threads
    resources:
        mem_mb=4000,
        runtime=240,
    conda:
        "../envs/kdpipe.yaml"
    message:
        "distil  {wildcards.pair} by {wildcards.method}, seed {wildcards.seed}"
    shell:
        "python -m kdpipe distil --root {ROOT} --out {params.out} --code {params.code} "
        "--slice {params.slice:q} " + TO_LOG
