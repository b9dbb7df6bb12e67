# kdpipe: what does a student network inherit from its teacher?
#
#   snakemake --cores 2                                  the default study, config.yaml
#   snakemake --cores 2 --configfile studies/X.yaml      another study
#   snakemake --cores 2 tables                           only up to a stage
from snakemake.utils import min_version

min_version("9.20")

# In another workflow ("module kdpipe:", docs/install.md) the study is the module's `config:`.
GUEST = not workflow.modifier.is_main_snakefile()

# Without this condition Snakemake would merge the default study into every other study.
if not (GUEST or workflow.configfiles or workflow.overwrite_configfiles):

    configfile: f"{workflow.basedir}/config.yaml"


include: "rules/common.smk"
include: "rules/subset.smk"
include: "rules/train.smk"
include: "rules/gate.smk"
include: "rules/probe.smk"
include: "rules/look.smk"
include: "rules/report.smk"


# Snakemake refuses a cacheable rule with a benchmark, and no directive removes the benchmark.
for kind in workflow.modifier.rules if CACHE else ():
    if kind.cache and kind.cache.output:
        kind._benchmark = None


onstart:
    try:
        check_start(PLAN, PLACE, workflow.remote_exec)
    except KdpipeError as error:
        raise WorkflowError(str(error))
    if not workflow.remote_exec:
        manifest.remove_half_written(PLACE)
    manifest.write(PLAN, PLACE)
    manifest.keep_study(PLAN, PLACE)
    # Jobs on other machines, or with another Python, import torch by themselves.
    if workflow.local_exec and not CONDA:
        warm.start()


onsuccess:
    # Skip this after a run without the report, and on the node of a job.
    if not workflow.remote_exec and any(
        f"{PLACE}/report.html" in j.output for j in workflow.dag.jobs
    ):
        print(*closing(PLAN, PLACE), sep="\n", flush=True)


# The first rule of this file is what Snakemake makes by default; in another workflow, which has a
# first rule of its own, it is none.
rule all:
    input:
        results(RESULTS),
    localrule: True


rule subset:
    input:
        collected("subset"),
    localrule: True


rule models:
    input:
        collected("models"),
    localrule: True


rule students:
    input:
        collected("students"),
    localrule: True


rule probes:
    input:
        collected("probes"),
    localrule: True
