"""A drawing as SVG text: rectangles, lines and words, legible on light and dark pages.

In: shapes in pixels.  Out: one self-contained SVG.  The charts are three and simple: a plotting library would be a
large dependency, and its output a large file that changes everywhere when one figure does.
"""

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

COLOURS: Final = ("#3b6ea8", "#d98a3d", "#4f9d69", "#8a6bb0", "#b8504c", "#6b7280")
INK: Final = "#1f2937"
FAINT: Final = "#d5dae1"
FONT: Final = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"


class Drawing:
    """Collects shapes; `text` gives the SVG."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, fill: str, title: str = "") -> None:
        """Draw a filled rectangle; `title` shows when it is pointed at."""
        inner = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}">{inner}</rect>'
        )

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1, dash: str = "") -> None:
        """Draw a line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashed}/>')

    def dot(self, x: float, y: float, colour: str) -> None:
        """Draw a point."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')

    def words(self, x: float, y: float, text: str, anchor: str = "start", size: int = 13, weight: int = 400) -> None:
        """Write words; `anchor` says which end of them is at x."""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
            f'fill="{INK}">{escape(text)}</text>'
        )

    def text(self) -> str:
        """Return the SVG."""
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="{FONT}">\n'
            f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>\n{body}\n</svg>\n'
        )
