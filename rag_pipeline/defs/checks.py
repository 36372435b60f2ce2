"""What must hold after every run, as asset checks; each reads the ledger or counts, none scans the corpus."""

from dataclasses import asdict

import dagster as dg

from rag_pipeline.indexing.status import account_for_documents, count_documents
from rag_pipeline.operations.follow import measure_freshness
from rag_pipeline.operations.leaks import find_leaks
from rag_pipeline.project import Project

FRESHNESS_CHECK = "index_freshness"


def make_checks(project: Project) -> list[dg.AssetChecksDefinition]:
    """The checks of one index."""
    return [
        _no_truncation(project),
        _counts_add_up(project),
        _quarantine_share(project),
        _index_matches_ledger(project),
        _pii_leaks(project),
        _index_freshness(project),
    ]


def _no_truncation(project: Project) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset="chunks", description="No chunk is longer than the model reads.")
    def no_truncation() -> dg.AssetCheckResult:
        spec = project.collections().target_spec
        longest, window = project.longest_tokens(spec), spec.vector_space.max_tokens
        return dg.AssetCheckResult(passed=longest <= window, metadata={"longest_tokens": longest, "window_tokens": window})

    return no_truncation


def _counts_add_up(project: Project) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset="documents", description="Everything that was seen is indexed, in quarantine or left out by a rule.")
    def counts_add_up() -> dg.AssetCheckResult:
        account = account_for_documents(project.ledger, project.target.name)
        return dg.AssetCheckResult(passed=account.adds_up, severity=dg.AssetCheckSeverity.ERROR, metadata=asdict(account))

    return counts_add_up


def _quarantine_share(project: Project) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset="documents", description="Few documents are in quarantine: any warns, too many fail.")
    def quarantine_share() -> dg.AssetCheckResult:
        counts = count_documents(project.ledger, project.target.name)
        share = counts.quarantined_share
        too_many = share > project.settings.quarantine.fail_share
        return dg.AssetCheckResult(
            passed=counts.quarantined == 0,
            severity=dg.AssetCheckSeverity.ERROR if too_many else dg.AssetCheckSeverity.WARN,
            metadata={
                "share": round(share, 4),
                "quarantined": counts.quarantined,
                "reasons": dg.MetadataValue.json(counts.reasons),
            },
        )

    return quarantine_share


def _index_matches_ledger(project: Project) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset="collection", description="The store holds exactly as many points as the ledger has read back.")
    def index_matches_ledger() -> dg.AssetCheckResult:
        name = project.target.name
        expected = sum(state.points for state in project.ledger.bucket_states(name).values())
        try:
            stored = project.store.count(name) if project.store.describe(name) else 0
        finally:
            project.close()
        return dg.AssetCheckResult(passed=stored == expected, metadata={"stored": stored, "expected": expected})

    return index_matches_ledger


def _pii_leaks(project: Project) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset="collection", description="The rules that mask find nothing more in the points that this run touched.")
    def pii_leaks(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        touched = project.ledger.report(context.run.run_id).get("build", {}).get("touched", project.buckets)
        try:
            report = find_leaks(project, touched) if project.settings.pii.enabled else None
        finally:
            project.close()
        if report is None:
            return dg.AssetCheckResult(passed=True, metadata={"masking": "off (pii.enabled)"})
        return dg.AssetCheckResult(
            passed=report.is_clean,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={
                "points": report.points,
                "leaks": dg.MetadataValue.json(dict(report.leaks)),
                "documents": len(report.documents),
            },
        )

    return pii_leaks


def _index_freshness(project: Project) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset="live_collection",
        name=FRESHNESS_CHECK,
        description="The sources were looked at within schedule.fresh_hours, and the live collection holds what was seen.",
    )
    def index_freshness() -> dg.AssetCheckResult:
        freshness = measure_freshness(project)
        limit = project.settings.schedule.fresh_hours
        return dg.AssetCheckResult(
            passed=freshness.hours is not None and freshness.hours <= limit and not freshness.buckets_behind,
            metadata={
                "hours_since_the_last_look": round(freshness.hours, 2) if freshness.hours is not None else "never",
                "hours_allowed": limit,
                "buckets_behind": freshness.buckets_behind,
            },
        )

    return index_freshness
