# kdpipe: what does a student network inherit from its teacher?
#
#   snakemake --cores 2                                  the default study, config.yaml
#   snakemake --cores 2 --configfile studies/X.yaml      another study
#   snakemake --cores 2 tables                           only up to a stage
from snakemake.utils import min_version

min_version("9.20")

# Without this condition Snakemake would merge the default study into every other study.
if not workflow.configfiles and not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config.yaml"


include: "rules/common.smk"
include: "rules/subset.smk"
include: "rules/train.smk"
include: "rules/gate.smk"
include: "rules/probe.smk"
include: "rules/look.smk"
include: "rules/report.smk"


# Snakemake refuses a cacheable rule with a benchmark, and no directive removes the benchmark.
for kind in workflow.rules if CACHE else ():
    if kind.cache and kind.cache.output:
        kind._benchmark = None


onstart:
    try:
        check_start(PLAN, ROOT, workflow.remote_exec)
    except KdpipeError as error:
        raise WorkflowError(str(error))
    if not workflow.remote_exec:
        manifest.remove_half_written(ROOT)
    manifest.write(PLAN, ROOT)
    manifest.keep_study(PLAN, ROOT)
    # Jobs on other machines import torch by themselves.
    if workflow.local_exec:
        warm.start()


onsuccess:
    # Skip this after a run without the report, and on the node of a job.
    if not workflow.remote_exec and any(
        j.rule.name == "report" for j in workflow.dag.jobs
    ):
        print(*closing(PLAN, ROOT), sep="\n", flush=True)


localrules:
    all,
    subset,
    models,
    students,
    probes,


rule all:
    default_target: True
    input:
        results(RESULTS),


rule subset:
    input:
        collected("subset"),


rule models:
    input:
        collected("models"),


rule students:
    input:
        collected("students"),


rule probes:
    input:
        collected("probes"),
