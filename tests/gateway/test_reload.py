"""Hot reload and explanations of a running gateway."""

from __future__ import annotations

import json
from pathlib import Path

from gateway import control
from gateway.cli.main import main
from tests.gateway.process import GatewayProcess, free_port
from tests.gateway.test_end_to_end import LK, SOS, exchange

ROWS = "device,driver,subject\nwatch:8800000015,watch,r-1\n"


async def test_files_are_read_again_while_an_incident_is_open(tmp_path: Path) -> None:
    port = free_port()
    sections = f'[[listen]]\nport = {port}\ndriver = "watch"\nhost = "127.0.0.1"\n[rules]\nfile = "rules.toml"\n'
    gateway = GatewayProcess(tmp_path, ROWS, sections)
    (tmp_path / "rules.toml").write_text("[site.incident]\nretell_s = 30\n")
    stranger = b"[3G*9900000015*0002*LK]"
    try:
        gateway.start()
        assert await exchange(port, LK + SOS, until=b"*AL]")
        assert await exchange(port, stranger, timeout_s=0.5) == b""
        (tmp_path / "devices.csv").write_text(ROWS + "watch:9900000015,watch,r-2\n")
        (tmp_path / "rules.toml").write_text("[site.incident]\nretel_s = 30\n")
        refused = control.ask(gateway.data, {"do": "reload"})
        assert "did you mean retell_s" in refused["error"] or "retell_s" in refused["error"]
        assert await exchange(port, stranger, timeout_s=0.5) == b"", "all or nothing"
        (tmp_path / "rules.toml").write_text("[site.incident]\nretell_s = 45\n")
        assert control.ask(gateway.data, {"do": "reload"})["devices"] == 2
        assert await exchange(port, stranger) == stranger
        again = SOS.replace(b"083012", b"083013")
        assert await exchange(port, LK + again, until=b"*AL]")
    finally:
        gateway.close()


async def test_an_incident_explains_itself_in_both_languages(tmp_path: Path, capsys: object) -> None:
    port = free_port()
    gateway = GatewayProcess(tmp_path, ROWS, f'[[listen]]\nport = {port}\ndriver = "watch"\nhost = "127.0.0.1"\n')
    try:
        gateway.start()
        assert await exchange(port, LK + SOS, until=b"*AL]")
        assert main(["events", "--data-dir", str(gateway.data), "--kind", "incident"]) == 0
        event = json.loads(capsys.readouterr().out.splitlines()[0])  # type: ignore[attr-defined]
        texts = []
        for language in ("en", "zh"):
            assert main(["explain", event["id"], "--lang", language, "--data-dir", str(gateway.data)]) == 0
            texts.append(capsys.readouterr().out)  # type: ignore[attr-defined]
        assert "incident" in texts[0].lower()
        assert "事" in texts[1]
        assert main(["explain", "0" * 26, "--data-dir", str(gateway.data)]) == 1
    finally:
        gateway.close()
