TARGET = "models/{model}/seed{seed}"


rule train:
    input:
        inputs(TARGET),
    output:
        weights=f"{ROOT}/{TARGET}/model.safetensors",
        about=f"{ROOT}/{TARGET}/model.json",
        history=f"{ROOT}/{TARGET}/history.parquet",
    log:
        log_of(TARGET),
    benchmark:
        benchmark_of(TARGET)
    cache: CACHE
    priority: first(TARGET)
    retries: TRAINING_RETRIES
    group:
        "models" if SMALL_TRAININGS else None
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.training.threads * PLAN.training.processes
    resources:
        **need(TARGET, gpus=PLAN.training.processes),
    params:
        **shared(TARGET),
    message:
        "train   {wildcards.model}, seed {wildcards.seed}"
    shell:
        command("train")


TARGET = "teacher_outputs/{pair}.safetensors"


rule teacher_outputs:
    input:
        inputs(TARGET),
    output:
        f"{ROOT}/{TARGET}",
    log:
        log_of(TARGET),
    benchmark:
        benchmark_of(TARGET)
    cache: CACHE
    priority: first(TARGET)
    group:
        "teachers" if GROUP_TEACHERS else None
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.compute.threads
    resources:
        **need(TARGET),
    params:
        **shared(TARGET),
    message:
        "teacher outputs for pair {wildcards.pair}"
    shell:
        command("teacher_outputs")


TARGET = "students/{pair}/{method}/seed{seed}"


rule distil:
    input:
        inputs(TARGET),
    output:
        weights=f"{ROOT}/{TARGET}/model.safetensors",
        about=f"{ROOT}/{TARGET}/model.json",
        history=f"{ROOT}/{TARGET}/history.parquet",
    log:
        log_of(TARGET),
    benchmark:
        benchmark_of(TARGET)
    cache: CACHE
    priority: first(TARGET)
    retries: TRAINING_RETRIES
    group:
        "students" if SMALL_TRAININGS and not STUDENTS_TEACH else None
    conda:
        "../envs/kdpipe.yaml"
    threads: PLAN.training.threads * PLAN.training.processes
    resources:
        **need(TARGET, gpus=PLAN.training.processes),
    params:
        **shared(TARGET),
    message:
        "distil  {wildcards.pair} by {wildcards.method}, seed {wildcards.seed}"
    shell:
        command("distil")
