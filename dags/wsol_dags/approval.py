"""The optional question to a person before a run becomes champion."""

from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

#: What the person said, as an option of `promote`; "none" where nobody was asked.
ANSWER = "{{ ((ti.xcom_pull(task_ids='approve') or {}).get('chosen_options') or ['none'])[0] }}"
#: What the person sees: the decision by the numbers.
BODY = """\
{% set found = ti.xcom_pull(task_ids='judge') %}
Run `{{ found.run_name }}` ({{ found.run_id }}) **{{ found.verdict }}**: {{ found.reason }}.

On the split gate, whose images trained nothing and chose nothing. This comparison is counted, whatever the answer: \
each makes the next one harder to pass.

| metric | to beat | challenger | difference | 95 % interval |
|---|---|---|---|---|
{% for row in found.comparisons -%}
| {{ row.metric }}{{ "" if row.against == "champion" else " against " ~ row.against }} \
| {{ "–" if row.champion is none else "%.2f" % row.champion }} | {{ "%.2f" % row.challenger }} \
| {{ "–" if row.difference is none else "%+.2f" % row.difference }} \
| {{ "–" if row.low is none else "[%+.2f, %+.2f]" % (row.low, row.high) }} |
{% endfor %}
Rejecting keeps the champion and records the refusal.
"""


def only_if_asked(context: Mapping[str, Any]) -> None:
    """Skip a task unless the run's form asks for a person's approval."""
    if not context["params"]["approval"]:
        raise AirflowSkipException("the run asks nobody for approval")
