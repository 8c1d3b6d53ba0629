"""Build deploy/docker/Dockerfile without a Docker daemon, run the image, trade in it, and print what was seen.

Debian's own tools do it, as root: mmdebstrap makes the base from this machine's apt sources, buildah builds and runs in
a chroot.  pip inside the build has this machine's configuration, handed in as the secrets that the Dockerfile asks for.
Everything lies in build/image, and is taken away but for the base.  What runs listens on free ports of this machine.
"""

import configparser
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from trade_engine.bench.own_server import free_port

ROOT: Final = Path(__file__).resolve().parent.parent
WORK: Final = ROOT / "build" / "image"
PROGRAMS: Final = ("buildah", "mmdebstrap")
#: What of pip's configuration is not about files of this machine.
PIP_OPTIONS: Final = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
BASE: Final = "localhost/trade-engine-base"
START_S: Final = 60.0
LARGEST_MB: Final = 250  # beyond the base


class ImageError(Exception):
    """Something is not as it must be; says what."""


def say(title: str, found: str) -> None:
    """One line of the report."""
    sys.stdout.write(f"{title:<22} {found}\n")
    sys.stdout.flush()


def buildah(*words: str) -> list[str]:
    """A command of buildah with a store of its own."""
    return [
        "buildah", "--root", str(WORK / "store"), "--runroot", str(WORK / "run"),
        "--storage-driver", os.environ.get("STORAGE_DRIVER", "overlay"), *words,
    ]  # fmt: skip


def done(words: list[str], *, timeout_s: float = 120) -> str:
    """Run a command to its end.

    Returns:
        What it printed.

    Raises:
        ImageError: it failed; with the end of what it said.
    """
    with (WORK / "log").open("a") as log:
        log.write(f"$ {' '.join(words)}\n")
        log.flush()
        answer = subprocess.run(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, timeout=timeout_s, check=False
        )
        log.write(answer.stdout)
    if answer.returncode != 0:
        end = "".join((WORK / "log").read_text().splitlines(keepends=True)[-25:])
        raise ImageError(f"{' '.join(words[:2])} ended with status {answer.returncode}:\n{end}")
    return answer.stdout


def make_base() -> Path:
    """The root file system of a small Debian, from the sources that this machine has."""
    base = WORK / "base.tar"
    if base.exists():
        return base
    sources = [*Path("/etc/apt/sources.list.d").glob("*.sources"), *Path("/etc/apt/sources.list.d").glob("*.list")]
    sources += [file for file in (Path("/etc/apt/sources.list"),) if file.exists()]
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = os.environ.get("SUITE", release.get("VERSION_CODENAME", "stable").strip('"'))
    options = [f"--aptopt={file}" for file in sorted(Path("/etc/apt/apt.conf.d").glob("*")) if acquires(file)]
    unready = WORK / "base.new.tar"
    done(
        ["mmdebstrap", "--variant=minbase", "--include=ca-certificates", "--format=tar", *options, suite,
         str(unready), *map(str, sources)],
        timeout_s=900,
    )  # fmt: skip
    return unready.rename(base)


def acquires(file: Path) -> bool:
    """Whether a file of apt's configuration says how packages are fetched."""
    return file.suffix in ("", ".conf") and "Acquire::" in file.read_text()


def pip_secrets() -> list[str]:
    """This machine's pip configuration as secrets of a build."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    # A variable of the environment wins over a file.
    found: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = value.strip("'\"")
    parser = configparser.RawConfigParser()
    parser["global"] = {name: value for name, value in found.items() if name in PIP_OPTIONS and "file:" not in value}
    secrets = []
    if "cert" in found:
        parser["global"]["cert"] = "/run/secrets/authority"
        secrets += ["--secret", f"id=authority,src={found['cert']}"]
    with (WORK / "pip.conf").open("w") as file:
        parser.write(file)
    return [*secrets, "--secret", f"id=pip,src={WORK / 'pip.conf'}"]


def build(base: str, target: str) -> str:
    """Build one target of the Dockerfile; its name."""
    name = f"localhost/trade-engine-{target}"
    done(
        buildah(
            "bud", "--isolation", "chroot", "--format", "docker", "--layers", "--build-arg", f"BASE={base}",
            *pip_secrets(), "--target", target, "-t", name, "-f", "deploy/docker/Dockerfile", ".",
        ),
        timeout_s=1800,
    )  # fmt: skip
    return name


def size_mb(image: str) -> int:
    """What an image takes, its base included, in megabytes."""
    with container(image) as made:
        place = Path(done(buildah("mount", made)).strip())
        used = done(["du", "-sm", "--one-file-system", str(place)])
        done(buildah("umount", made))
    return int(used.split()[0])


@contextlib.contextmanager
def container(image: str) -> Iterator[str]:
    """A container of an image, taken away afterwards."""
    name = done(buildah("from", "--pull-never", image)).strip()
    try:
        yield name
    finally:
        done(buildah("rm", name))


@contextlib.contextmanager
def running(name: str, environment: dict[str, str], *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a container; asked to stop with the block, as a container's first process is.

    buildah hands no signals on, so the program itself is asked; its status is that of buildah.
    """
    options = [word for item in environment.items() for word in ("--env", "=".join(item))]
    with (WORK / "output").open("ab") as output:
        process = subprocess.Popen(
            buildah("run", "--isolation", "chroot", *options, name, "--", *command),
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        for pid in descendants(process.pid):
            with contextlib.suppress(OSError):
                if command[-1].encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[2:]:
                    os.kill(pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def descendants(pid: int) -> Iterator[int]:
    """The processes below one, the nearest first; each thread has children of its own, and buildah has several."""
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            for child in (thread / "children").read_text().split():
                yield int(child)
                yield from descendants(int(child))


def ask(url: str, body: dict[str, Any] | None = None, token: str = "") -> dict[str, Any]:
    """A request to the engine; what it answered."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def wait_ready(url: str, process: subprocess.Popen[bytes]) -> float:
    """Until the engine takes orders; after how many seconds."""
    began = time.monotonic()
    while time.monotonic() - began < START_S and process.poll() is None:
        with contextlib.suppress(OSError):
            ask(f"{url}/health/ready")
            return time.monotonic() - began
        time.sleep(0.2)
    raise ImageError(f"the engine did not come up:\n{(WORK / 'output').read_text()[-2000:]}")


def trade(url: str, tokens: dict[str, str]) -> None:
    """One order of each; they meet."""
    terms = {"symbol": "BTC/USDT", "type": "LIMIT", "quantity": "0.1", "price": "50000.00"}
    for user, side in (("alice", "SELL"), ("bob", "BUY")):
        order = ask(f"{url}/api/v1/orders", terms | {"side": side}, tokens[user])["data"]["order"]
        say(f"{user}'s order", f"{side} 0.1 BTC at 50000.00: {order['status']} {order['id']}")
    if order["status"] != "FILLED":
        raise ImageError(f"two orders that cross did not meet: {order}")
    traded = ask(f"{url}/api/v1/trades?symbol=BTC/USDT")["data"][0]
    say("trade", f"{traded['quantity']} at {traded['price']}, {traded['executed_at']}")


def check_engine(image: str) -> None:
    """Start the engine in its image with a database of its own, place orders, verify, stop."""
    configured = json.loads(done(buildah("inspect", "--type", "image", image)))["Docker"]["config"]
    say("user, health check", f"{configured['User']}, {' '.join(configured['Healthcheck']['Test'])}")
    of_base = size_mb(BASE)
    own = size_mb(image) - of_base
    say("size", f"{own} MB beside the base of {of_base} MB; a PostgreSQL of 40 MB is among them")
    if own > LARGEST_MB:
        raise ImageError(f"the image adds {own} MB to its base, and is to add {LARGEST_MB} at most")
    ports = {f"TRADE_ENGINE__SERVER__{name}_PORT": str(free_port()) for name in ("HTTP", "WEBSOCKET", "METRICS")}
    environment = ports | {"TRADE_ENGINE__SERVER__HOST": "127.0.0.1"}
    url = f"http://127.0.0.1:{ports['TRADE_ENGINE__SERVER__HTTP_PORT']}"

    with container(image) as name:

        def command(*words: str) -> str:
            options = [word for item in environment.items() for word in ("--env", "=".join(item))]
            return done(buildah("run", "--isolation", "chroot", *options, name, "--", *words)).strip()

        say("runs as", command("id"))
        with running(name, environment, "trade-engine", "serve", "--demo") as process:
            say("ready after", f"{wait_ready(url, process):.1f} s")
            say("health check", f"status 0 {command('trade-engine-alive')}")
            trade(url, {user: command("trade-engine", "token", user) for user in ("alice", "bob")})
            verified = json.loads(command("trade-engine", "verify", "--json"))
            say("verify", f"differences: {verified['differences'] or 'none'}")
            stopped = time.monotonic()
        say("stopped after", f"{time.monotonic() - stopped:.1f} s, status {process.returncode}")
        if process.returncode != 0:
            raise ImageError(f"asked to stop, it ended with status {process.returncode}")


def main() -> int:
    """Base, image, engine; status 1 if anything is not as it must be."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        sys.stderr.write(
            f"error: this needs root{' and ' + ' and '.join(missing) if missing else ''}; on Debian and Ubuntu: "
            "sudo apt-get install -y buildah mmdebstrap && sudo make image-check\n"
        )
        return 1
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / "log").write_text("")
    (WORK / "output").write_text("")
    try:
        base = make_base()
        say("base", f"{base.stat().st_size >> 20} MB")
        with container("scratch") as empty:
            done(buildah("add", empty, str(base), "/"))
            done(buildah("commit", empty, BASE))
        began = time.monotonic()
        image = build(BASE, "engine")
        say("built in", f"{time.monotonic() - began:.0f} s")
        check_engine(image)
    except ImageError as error:
        sys.stderr.write(f"error: {error}\nwhat was printed is in {WORK.relative_to(ROOT)}/log and output\n")
        return 1
    finally:
        subprocess.run(buildah("rm", "--all"), capture_output=True, check=False)
        shutil.rmtree(WORK / "store", ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
