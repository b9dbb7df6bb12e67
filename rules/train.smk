rule train:
    input:
        inputs("models/{model}/seed{seed}"),
    output:
        f"{ROOT}/models/{{model}}/seed{{seed}}/model.safetensors",
        f"{ROOT}/models/{{model}}/seed{{seed}}/model.json",
        f"{ROOT}/models/{{model}}/seed{{seed}}/history.parquet",
    log:
        f"{ROOT}/logs/models/{{model}}/seed{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/models/{{model}}/seed{{seed}}.tsv"
    retries: TRAINING_RETRIES
    group:
        "models" if SMALL_TRAININGS else None
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.compute.threads
    resources:
        **need("models/{model}/seed{seed}"),
    params:
        **job("models/{model}/seed{seed}"),
    message:
        "train   {wildcards.model}, seed {wildcards.seed}"
    shell:
        f"exec python -m kdpipe train {ARGUMENTS}"


rule teacher_outputs:
    input:
        inputs("teacher_outputs/{pair}.safetensors"),
    output:
        f"{ROOT}/teacher_outputs/{{pair}}.safetensors",
    log:
        f"{ROOT}/logs/teacher_outputs/{{pair}}.log",
    benchmark:
        f"{ROOT}/benchmarks/teacher_outputs/{{pair}}.tsv"
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.compute.threads
    resources:
        **need("teacher_outputs/{pair}.safetensors"),
    params:
        **job("teacher_outputs/{pair}.safetensors"),
    message:
        "teacher outputs for pair {wildcards.pair}"
    shell:
        f"exec python -m kdpipe teacher_outputs {ARGUMENTS}"


rule distil:
    input:
        inputs("students/{pair}/{method}/seed{seed}"),
    output:
        f"{ROOT}/students/{{pair}}/{{method}}/seed{{seed}}/model.safetensors",
        f"{ROOT}/students/{{pair}}/{{method}}/seed{{seed}}/model.json",
        f"{ROOT}/students/{{pair}}/{{method}}/seed{{seed}}/history.parquet",
    log:
        f"{ROOT}/logs/students/{{pair}}/{{method}}/seed{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/students/{{pair}}/{{method}}/seed{{seed}}.tsv"
    retries: TRAINING_RETRIES
    group:
        "students" if SMALL_TRAININGS else None
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.compute.threads
    resources:
        **need("students/{pair}/{method}/seed{seed}"),
    params:
        **job("students/{pair}/{method}/seed{seed}"),
    message:
        "distil  {wildcards.pair} by {wildcards.method}, seed {wildcards.seed}"
    shell:
        f"exec python -m kdpipe distil {ARGUMENTS}"
