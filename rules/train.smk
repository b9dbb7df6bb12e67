rule train:
    input:
        inputs("models/{model}/seed{seed}"),
    output:
        weights=f"{ROOT}/models/{{model}}/seed{{seed}}/model.safetensors",
        about=f"{ROOT}/models/{{model}}/seed{{seed}}/model.json",
        history=f"{ROOT}/models/{{model}}/seed{{seed}}/history.parquet",
    log:
        f"{ROOT}/logs/models/{{model}}/seed{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/models/{{model}}/seed{{seed}}.tsv"
    cache: CACHE
    priority: first("models/{model}/seed{seed}")
    retries: TRAINING_RETRIES
    group:
        "models" if SMALL_TRAININGS else None
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.training.threads * PLAN.training.processes
    resources:
        **need("models/{model}/seed{seed}", gpus=PLAN.training.processes),
    params:
        **shared("models/{model}/seed{seed}"),
    message:
        "train   {wildcards.model}, seed {wildcards.seed}"
    shell:
        command("train")


rule teacher_outputs:
    input:
        inputs("teacher_outputs/{pair}.safetensors"),
    output:
        f"{ROOT}/teacher_outputs/{{pair}}.safetensors",
    log:
        f"{ROOT}/logs/teacher_outputs/{{pair}}.log",
    benchmark:
        f"{ROOT}/benchmarks/teacher_outputs/{{pair}}.tsv"
    cache: CACHE
    priority: first("teacher_outputs/{pair}.safetensors")
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.compute.threads
    resources:
        **need("teacher_outputs/{pair}.safetensors"),
    params:
        **shared("teacher_outputs/{pair}.safetensors"),
    message:
        "teacher outputs for pair {wildcards.pair}"
    shell:
        command("teacher_outputs")


rule distil:
    input:
        inputs("students/{pair}/{method}/seed{seed}"),
    output:
        weights=f"{ROOT}/students/{{pair}}/{{method}}/seed{{seed}}/model.safetensors",
        about=f"{ROOT}/students/{{pair}}/{{method}}/seed{{seed}}/model.json",
        history=f"{ROOT}/students/{{pair}}/{{method}}/seed{{seed}}/history.parquet",
    log:
        f"{ROOT}/logs/students/{{pair}}/{{method}}/seed{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/students/{{pair}}/{{method}}/seed{{seed}}.tsv"
    cache: CACHE
    priority: first("students/{pair}/{method}/seed{seed}")
    retries: TRAINING_RETRIES
    group:
        "students" if SMALL_TRAININGS else None
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.training.threads * PLAN.training.processes
    resources:
        **need("students/{pair}/{method}/seed{seed}", gpus=PLAN.training.processes),
    params:
        **shared("students/{pair}/{method}/seed{seed}"),
    message:
        "distil  {wildcards.pair} by {wildcards.method}, seed {wildcards.seed}"
    shell:
        command("distil")
