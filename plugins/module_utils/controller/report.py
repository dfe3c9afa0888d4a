"""The page of `status`: the fleet as it is wired, and the last hour as plots. One HTML file that needs no script and loads nothing. Pure functions."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller.status import Seen, iso, judge, rows
from ansible_collections.plainstack.web.plugins.module_utils.controller.tables import seconds
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

WIDTH = 360  # of the drawings, in their own units: that of a phone
ROW, INDENT, BOX = 34, 24, 26  # of the wiring
LETTER, SMALL = 7.4, 6.2  # how wide a letter is, about
LEFT, TOP, HIGH = 52, 8, 84  # where a plot's area begins, and its height
# Blue and vermilion of Okabe and Ito, who chose them to be told apart by everybody; shapes and words say the same once more
STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1b1b; --faint: #5c5c5c; --line: #c9c9c9; --good: #0072b2; --bad: #c44e00; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181b; --text: #ececec; --faint: #a8a8a8; --line: #45494f; --good: #56b4e9; --bad: #ff9a4d; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--back); color: var(--text); font: 16px/1.45 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; margin: 1.4em 0 .5em; overflow-wrap: anywhere; }
h1 { margin-top: 0; }
h3 { font-size: 1rem; }
p, li { overflow-wrap: anywhere; }
.bad { color: var(--bad); font-weight: 600; }
.good { color: var(--good); font-weight: 600; }
.faint { color: var(--faint); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; white-space: nowrap; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; }
svg text { fill: var(--text); font: 12px system-ui, sans-serif; }
svg .small { fill: var(--faint); font-size: 11px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem 2rem; }
figure { margin: 0; }
figcaption { font-size: .875rem; }
.box { fill: var(--back); stroke: var(--good); stroke-width: 1.5; }
.box.ill { stroke: var(--bad); stroke-width: 2.5; stroke-dasharray: 5 3; }
.wire, .axis { fill: none; stroke: var(--line); stroke-width: 1.5; }
.requests { fill: var(--good); }
.errors { fill: var(--bad); }
.p50, .p99 { fill: none; stroke: var(--good); stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.p99 { stroke: var(--bad); stroke-dasharray: 4 3; }
"""


def _shown(text: object) -> str:
    """A text as it may stand anywhere in the page: no markup, and no character that hides or turns others around."""
    return html.escape(plain(str(text)))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: max(most - 1, 1)]}…"


@dataclass(frozen=True)
class Node:
    """A box of the wiring: how deep it stands, the place of the box that leads to it, its name, what is said of it, and whether something is wrong."""

    depth: int
    above: int | None
    name: str
    says: str
    ill: bool = False


def wiring(seen: Seen, balancers: Sequence[str]) -> list[Node]:
    """The boxes from top to bottom: the visitors, the balancers, the servers below whatever leads to them, each with its apps; last what gets no traffic."""
    ill = {server for server, one in seen.items() if one.get("error") or one["nginx"] not in ("", "active")}

    def box(depth: int, above: int | None, server: str, kind: str) -> Node:
        why = "cannot be looked at" if seen[server].get("error") else f"nginx: {seen[server]['nginx']}" if server in ill else ""
        return Node(depth, above, server, why or kind, server in ill)

    def apps(depth: int, above: int, server: str) -> list[Node]:
        found = []
        for app in seen[server].get("apps", []):
            says = "nothing is live" if not app["live"] else "unhealthy" if app["unhealthy"] else "in maintenance" if app["maintenance"] else "healthy"
            found.append(Node(depth, above, app["name"], says, bool(app["unhealthy"]) or not app["live"]))
        return found

    first = [server for server in balancers if server in seen]
    servers = [server for server in seen if server not in first]
    idle = [server for server in servers if not seen[server].get("error") and not seen[server]["nginx"]]
    found = [Node(0, None, "visitors", ""), *(box(1, 0, server, "load balancer") for server in first)]
    depth = above = 1 if first else 0  # the wire to a server begins at the first balancer and passes the others: each leads to all servers
    for server in servers:
        if server not in idle:
            found.append(box(depth + 1, above, server, "server"))
            found += apps(depth + 2, len(found) - 1, server)
    for server in idle:
        found.append(box(0, None, server, "worker server"))
        found += apps(1, len(found) - 1, server)
    return found


def _wiring(nodes: Sequence[Node]) -> str:
    """The boxes as a tree, over their wires."""
    wires: list[str] = []
    parts: list[str] = []
    for place, node in enumerate(nodes):
        x, y = node.depth * INDENT, place * ROW
        if node.above is not None:
            trunk = (node.depth - 1) * INDENT + INDENT // 2
            wires.append(f'<path class="wire" d="M{trunk} {node.above * ROW + BOX + 1}V{y + BOX // 2}H{x}"/>')
        says, mark = _cut(node.says, 22), "▲ " if node.ill else ""
        name = _cut(node.name, int((WIDTH - x - 30 - len(says) * SMALL) / LETTER) - len(mark))
        parts.append(
            f"<g><title>{_shown(node.name)}{': ' if node.says else ''}{_shown(node.says)}</title>"
            f'<rect class="box{" ill" if node.ill else ""}" x="{x + 1}" y="{y + 1}" width="{WIDTH - x - 2}" height="{BOX}" rx="4"/>'
            f'<text x="{x + 9}" y="{y + 18}">{mark}{_shown(name)}</text>'
            f'<text class="small" x="{WIDTH - 9}" y="{y + 18}" text-anchor="end">{_shown(says)}</text></g>'
        )
    said = f"{len(nodes) - 1} boxes below the visitors; those with a triangle have a problem"
    return f'<svg viewBox="0 0 {WIDTH} {len(nodes) * ROW}" role="img" aria-label="{said}">{"".join(wires + parts)}</svg>'


def _axes(most: str, minutes: Sequence[Mapping[str, Any]]) -> str:
    bottom, right = TOP + HIGH, WIDTH - 2
    first, last = (iso(minutes[place]["time"])[11:16] for place in (0, -1))
    return (
        f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
        f'<text class="small" x="{LEFT - 5}" y="{TOP + 9}" text-anchor="end">{most}</text>'
        f'<text class="small" x="{LEFT - 5}" y="{bottom}" text-anchor="end">0</text>'
        f'<text class="small" x="{LEFT}" y="{bottom + 15}">{first}</text>'
        f'<text class="small" x="{right}" y="{bottom + 15}" text-anchor="end">{last} UTC</text>'
    )


def _plot(title: str, caption: str, drawn: str) -> str:
    figure = f'<svg viewBox="0 0 {WIDTH} {TOP + HIGH + 20}" role="img" aria-label="{title}">{drawn}</svg>'
    return f"<figure><figcaption>{caption}</figcaption>{figure}</figure>"


def _counts(minutes: Sequence[Mapping[str, Any]]) -> str:
    """The requests of each minute as bars; the errors are the part at the bottom, which begins with a gap."""
    most = max(one["requests"] for one in minutes) or 1
    step, bottom, drawn = (WIDTH - 2 - LEFT) / len(minutes), TOP + HIGH, ""
    for place, one in enumerate(minutes):
        x, wide = LEFT + place * step + 0.5, step - 1
        high, bad = HIGH * one["requests"] / most, HIGH * one["errors"] / most
        bad = max(bad, 2.0) if one["errors"] else 0.0  # one among thousands is seen, too
        rest = high - bad - (1 if bad else 0)
        if rest > 0:
            drawn += f'<rect class="requests" x="{x:.1f}" y="{bottom - high:.1f}" width="{wide:.1f}" height="{rest:.1f}"/>'
        if bad:
            drawn += f'<rect class="errors" x="{x - 0.5:.1f}" y="{bottom - bad:.1f}" width="{wide + 1:.1f}" height="{bad:.1f}"/>'
    total, errors = (sum(one[key] for one in minutes) for key in ("requests", "errors"))
    said = f"{total} requests, of which {errors} were answered 5xx"
    bad_ones = f'<span class="bad">▲ {errors} of them 5xx (wider, at the bottom)</span>' if errors else "none of them 5xx"
    caption = f"Requests of each minute: {total} in all, {bad_ones}"
    return _plot(said, caption, drawn + _axes(str(most), minutes))


def _times(minutes: Sequence[Mapping[str, Any]]) -> str:
    """p50 as a line, p99 dashed; a minute without requests interrupts them."""
    most = max(one["p99"] for one in minutes) or 0.001
    step, bottom = (WIDTH - 2 - LEFT) / len(minutes), TOP + HIGH

    def line(key: str) -> str:
        path, pen = "", "M"
        for place, one in enumerate(minutes):
            if not one["requests"]:
                pen = "M"
                continue
            x, y = LEFT + (place + 0.5) * step, bottom - HIGH * min(one[key] / most, 1)
            path += f"{pen}{x:.1f} {y:.1f}" + ("h0.1" if pen == "M" else "")
            pen = "L"
        return f'<path class="{key}" d="{path}"/>' if path else ""

    caption = 'Time of a request: <span class="good">p50 (line)</span>, <span class="bad">p99 (dashed)</span>'
    return _plot(f"p50 and p99, at most {seconds(most)}", caption, line("p99") + line("p50") + _axes(seconds(most), minutes))


def _table(found: Sequence[Sequence[str]]) -> str:
    line: Callable[[Sequence[str], str], str] = lambda cells, tag: "".join(f"<{tag}>{_shown(cell)}</{tag}>" for cell in cells)  # noqa: E731
    body = "".join(f"<tr>{line(cells, 'td')}</tr>" for cells in found[1:])
    return f'<div class="wide"><table><thead><tr>{line(found[0], "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_shown(line)}</li>' for line in lines)}</ul>" if lines else ""


def page(seen: Seen, balancers: Sequence[str], now: float) -> str:
    """The page.

    :param seen: see `status`; of each app also its `minutes`, where its server has nginx.
    :param balancers: which of the servers are load balancers.
    :param now: when the status was taken, in seconds since 1970.
    """
    problems, notes = judge(seen)
    many = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    verdict = f'<p class="bad">▲ {many}</p>' if problems else '<p class="good">● No problem was found.</p>'
    plots = ""
    for server, one in seen.items():
        for app in one.get("apps", []):
            if app.get("minutes"):
                both = _counts(app["minutes"]) + _times(app["minutes"])
                plots += f'<h3>{_shown(app["name"])} on {_shown(server)}</h3><div class="plots">{both}</div>'
    apps, servers = rows(seen)
    parts = [
        f'<h1>Status</h1><p class="faint">{iso(now)}</p>',
        verdict + _list(problems),
        f"<h2>Notes</h2>{_list(notes)}" if notes else "",
        f"<h2>Fleet</h2>{_wiring(wiring(seen, balancers))}",
        f"<h2>The last hour</h2>{plots}" if plots else "",
        f'<h2>Apps</h2><p class="faint">Requests of the last five minutes.</p>{_table(apps)}' if len(apps) > 1 else "",
        f"<h2>Servers</h2>{_table(servers)}",
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Status</title>'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(part for part in parts if part) + "\n</body></html>\n"
    )
