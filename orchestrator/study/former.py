"""A `layout.json` from before layouts had a number: of the one paper that there was, and of what was known of it.

This is the only place that knows what was taken for granted then. It makes of such a file what the sweep would write
today, so that a stored study is still rendered to the tables and figures that it had.
"""

from typing import Any

HEAD = {
    "facts": [
        {"name": "language", "published": "language"},
        {"name": "hours", "audit": "train.seconds", "per": 3600},
        *({"name": f"paper_{name}", "published": name} for name in ("group", "hours", "text_gb")),
    ],
    "label": "language",
    "heading": "Language",
    "group": "paper_group",
    "group_heading": "Speech",
    "ours": "{hours:.2f} h",
    "paper": "{paper_hours:g} h, {paper_text_gb:g} GB",
}
COSTS = [
    {"name": "audio_seconds_per_second", "label": "Audio seconds per second", "unit": "", "digits": 0, "better": None},
    {"name": "waiting_for_data_percent", "label": "Waiting for data, %", "unit": "", "digits": 1, "better": None},
]
DENSITY = (
    "Length of the ground truth against prediction density, the share of frames that are not blank: "
    "languages that improve much over the baseline against those that do not (Figure 2 of Distill-L2S)."
)


def upgraded(found: dict[str, Any]) -> dict[str, Any]:
    """The submission as it would be written today. Raises KeyError or TypeError where it is damaged."""
    kept = {name: found[name] for name in ("name", "command", "trials")}
    layout = found["layout"]
    metric, survey = layout["metric"], layout["survey"]
    tables = [_table(layout, found["notes"])] + ([_survey(layout, survey)] if survey else [])
    figures = [
        {"kind": "by_axis", "name": f"{metric}_by_weight", "caption": f"{metric.upper()} by λ, with 95 % intervals.",
         "table": "table1", "axis": "weight", "label": "λ", "rest": "distilled"},
        {"kind": "drawn", "name": "density", "caption": DENSITY, "table": "table1",
         "function": "sweeps.figures:density"},
        {"kind": "curves", "name": "curves", "table": "table1", "value": {"name": f"valid/{metric}"},
         "label": f"validation {metric.upper()} (%)"},
    ]  # fmt: skip
    return {
        **kept,
        "layout": {"tables": tables, "figures": figures, "costs": COSTS},
        "replaced": found.get("replaced", ()),
    }


def _value(layout: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"test/{layout['metric']}", "counts": "characters"}


def _table(layout: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    same = ("title", "rows", "data", "baseline", "contrasts", "repetition", "reasons")
    columns = [{**column, "heading": column["heading"].replace(" λ", "\nλ")} for column in layout["columns"]]
    return {
        **{name: layout[name] for name in same},
        "name": "table1",
        "columns": columns,
        "value": _value(layout),
        "published": {**layout["published"], "key": "locale"},
        "notes": notes,
        "head": HEAD,
    }


def _survey(layout: dict[str, Any], survey: dict[str, Any]) -> dict[str, Any]:
    value, rows = _value(layout), survey["published"]["rows"]
    headings = {n: f"{text} ‡" if n in survey["borrowed"] else text for n, text in survey["systems"].items()}
    note = "The best is chosen by the test error, as in the paper: that is optimistic."
    choice = {"among": survey["best_of"], "by": value, "table": "table1", "note": note}
    facts = [{**fact, "audit": ""} for fact in HEAD["facts"]]
    return {
        "name": "table2",
        "title": survey["title"],
        "rows": [{"name": row, "heading": "", "where": {layout["rows"]: row}} for row in rows],
        "columns": [
            *({"name": name, "heading": heading, "where": None} for name, heading in headings.items()),
            {"name": "ours", "heading": "ours", "choice": choice},
        ],
        "value": value,
        "published": {**survey["published"], "key": "locale"},
        "data": layout["data"],
        "reasons": layout["reasons"],
        "notes": [f"‡: borrowed by the paper from {survey['source']}."],
        "head": {**HEAD, "facts": facts},
    }
