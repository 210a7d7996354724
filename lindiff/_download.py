"""Find a registered file: reader's folder, cache of the user, then mirrors; always verified."""

import hashlib
import os
from pathlib import Path

CACHE_NAME = "lindiff"
FOLDERS = "LINDIFF_DATA"
TIMEOUT = 30.0


def sha256(path):
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verified(path, known, origin):
    """Return `path` if its content is the registered one, else raise."""
    if sha256(path) != known:
        raise ValueError(f"{origin} file {path} is not the registered one; replace or remove it")
    return Path(path)


def local_file(relative, known):
    """Return a verified file below one of the folders of LINDIFF_DATA, or None."""
    for folder in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        path = Path(folder).expanduser() / relative
        if path.is_file():
            return verified(path, known, f"{FOLDERS}:")
    return None


def fetch(relative, known, urls, *, cache=None, timeout=TIMEOUT):
    """Return the path of a registered file, downloading it if nothing local has it.

    Parameters
    ----------
    relative : str
        ``"<data set>/<file>"``, below a folder of LINDIFF_DATA or the cache.
    known : str
        SHA-256 of the content.
    urls : sequence of str
        Mirrors in the order in which they are tried, each at most twice.
    cache : path, optional
        Folder to store in; the per-user cache by default.
    timeout : float
        Seconds without an answer after which a mirror is given up.
    """
    found = local_file(relative, known)
    if found is not None:
        return found
    import pooch

    folder = Path(cache or pooch.os_cache(CACHE_NAME)) / Path(relative).parent
    target = folder / Path(relative).name
    if target.is_file() and sha256(target) == known:
        return target
    tried = []
    for url in urls:
        for _ in range(2):
            try:
                _download(url, known, target, timeout)
                return verified(target, known, "downloaded")
            except Exception as error:
                tried.append(f"  {url}: {type(error).__name__}: {str(error).splitlines()[0][:120]}")
    raise OSError(
        f"{relative} could not be downloaded.\n"
        + "\n".join(dict.fromkeys(tried))
        + f"\nPut the file at {target}, or name a folder that holds {relative} in {FOLDERS}."
    )


def _download(url, known, target, timeout):
    import pooch

    # pooch writes to a temporary file beside the target, verifies it, then renames it.
    pooch.retrieve(
        url,
        known_hash=f"sha256:{known}",
        fname=target.name,
        path=target.parent,
        downloader=pooch.HTTPDownloader(timeout=timeout),
    )
