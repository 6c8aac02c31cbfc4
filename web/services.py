"""What every handler may use, made once."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from bus.accounts import write_private
from bus.campaigns import request_campaign
from bus.client import Bus
from bus.runtime import VERSION
from domain.specs import CampaignSpec
from projections.past import Past
from web.curves import CurveService
from web.live import Hub
from web.render import Renderer
from web.secrets import Secrets
from web.views import Views


class WebFile(msgspec.Struct, frozen=True):
    """`DIR/web.json`, 0600: where the pages are, the link that signs one browser in, the token for scripts."""

    url: str
    link: str
    token: str


@dataclass
class Services:
    """`patience_s`: how long a page waits for the read models to know of what was just asked for."""

    bus: Bus
    views: Views
    hub: Hub
    renderer: Renderer
    curves: CurveService
    secrets: Secrets
    web_file: Path
    past: Past
    url: str = ""
    version: str = VERSION
    patience_s: float = 3.0

    async def request(self, spec: CampaignSpec, by: str) -> str:
        """Ask for a campaign in this agent's name; returns its id."""
        return await request_campaign(self.bus, spec, by, source="web", valid_s=600.0)

    def write_web_file(self) -> None:
        """Whenever the address or the link is another one."""
        file = WebFile(self.url, f"{self.url}/login?token={self.secrets.link}", self.secrets.token)
        write_private(self.web_file, msgspec.json.format(msgspec.json.encode(file)))
