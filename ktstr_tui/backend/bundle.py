"""A run with a seed as one file, for another machine: what it was made of but the kernel, its recording and its proof.

The file is a zip archive, whose format checks every byte by CRC; what the run was made of is checked by the hashes in
its identity. It is unpacked into a directory that is named by its content, so that the same bundle is unpacked once.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from pathlib import Path
from typing import Final

from ktstr_tui.backend.again import KEPT_FILES, MAX_KEPT_BYTES, RUN_FILES_FILE, read_kept
from ktstr_tui.backend.checkpoints import CHECKPOINTS_FILE
from ktstr_tui.backend.interventions import INTERVENTIONS_FILE
from ktstr_tui.backend.scheduler_change import OBJECTS_DIR
from ktstr_tui.backend.seeded import GIVEN_FILE
from ktstr_tui.guest.paths import private_dir, state_dir
from ktstr_tui.link.runs import RECORDING_FILE
from ktstr_tui.model.errors import UsageError

MAX_OBJECTS: Final = 256
SUFFIX: Final = ".ktstr-run"
_ALSO: Final = (RUN_FILES_FILE, RECORDING_FILE, CHECKPOINTS_FILE, GIVEN_FILE, INTERVENTIONS_FILE)
_OBJECT: Final = re.compile(rf"{OBJECTS_DIR}/[0-9a-f]{{64}}\\.bpf\\.o")


def bundle(directory: Path, path: Path) -> None:
    """Pack a run.

    Args:
        directory: Where the run's recording is.
        path: The file to make; must not be there yet.

    Raises:
        UsageError: It was no run with a seed, or the file is there already.
        OSError: The file cannot be written.
    """
    read_kept(directory)
    try:
        with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
            objects = sorted(f"{OBJECTS_DIR}/{it.name}" for it in (directory / OBJECTS_DIR).glob("*.bpf.o"))
            for name in (*KEPT_FILES, *_ALSO, *objects):
                if (directory / name).is_file():
                    archive.write(directory / name, name)
    except FileExistsError:
        raise UsageError(f"{path} is there already", "name another file") from None


def unbundle(path: Path) -> Path:
    """Unpack a run; returns the directory.

    Raises:
        UsageError: The file is no bundle, or was cut or damaged.
        HostError: The directory cannot be made.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        place = private_dir(private_dir(private_dir(state_dir()) / "bundles") / digest[:16])
        with zipfile.ZipFile(path) as archive:
            sizes = {it.filename: it.file_size for it in archive.infolist()}
            objects = [name for name in sizes if _OBJECT.fullmatch(name)][:MAX_OBJECTS]
            private_dir(place / OBJECTS_DIR)
            for name in (*KEPT_FILES, *_ALSO, *objects):
                if name in sizes and sizes[name] <= MAX_KEPT_BYTES:
                    (place / name).write_bytes(archive.read(name))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UsageError(f"{path} is not a whole bundle of a run: {error}", "copy it again") from error
    read_kept(place)
    return place
