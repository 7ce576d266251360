"""What git may be asked of others: which URLs, which addresses, and with whose credentials."""

import re
import shlex
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import structlog

from loopwright_common.egress.addresses import AllowedAddress
from loopwright_common.egress.guard import EgressGuard
from loopwright_common.egress.rules import EgressRules, Resolver, resolve
from loopwright_common.errors import InvalidError
from loopwright_common.names import has_control_characters
from loopwright_trainer.git.command import GitError, run_git

_SCP = re.compile(r"\w[\w.-]*@[\w.-]+:(?!//)\S+")
_FORM = "give a URL of https, http or ssh, or an absolute path"
_UNREACHABLE = (
    "no repository can be read at {}: it has to be at a public address or one in "
    "LOOPWRIGHT_TRAINER_GIT_ADDRESSES, and where it asks who we are, an operator says so in the "
    "file that LOOPWRIGHT_TRAINER_GIT_CREDENTIALS or LOOPWRIGHT_TRAINER_GIT_SSH_CONFIG names"
)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GitAccess:
    """What an operator lets git reach, and the files with what it may say who it is.

    `local` are directories of this machine, `addresses` those beside the public ones.
    """

    local: Sequence[Path] = ()
    addresses: Sequence[AllowedAddress] = ()
    credentials: Path | None = None
    ssh_config: Path | None = None
    resolver: Resolver = field(default=resolve)

    def check(self, url: str) -> str:
        """What git is given for the URL; InvalidError, which repeats no secret, for others."""
        if has_control_characters(url) or " " in url or "::" in url.partition("//")[0]:
            raise InvalidError(f"the URL has characters that no URL has; {_FORM}", field="url")
        if url.startswith(("/", "file://")):
            return self._local(Path(url.removeprefix("file://")))
        if _SCP.fullmatch(url):
            return url
        return _checked(url)

    def ask(self, *arguments: str, url: str, cwd: Path | None = None, timeout: float) -> bytes:
        """What `git ARGUMENTS URL` prints (the URL's place is `{}`).

        InvalidError as of `check`, GitError when it fails or takes over `timeout` seconds. Why a
        remote one failed is for the operator: it would tell which ports are open.
        """
        checked = self.check(url)
        command = [argument.replace("{}", checked) for argument in arguments]
        if checked.startswith("/"):
            return run_git(
                *command, cwd=cwd, timeout=timeout, settings=["protocol.file.allow=always"]
            )
        try:
            with EgressGuard(EgressRules(self.addresses, resolver=self.resolver)) as guard:
                return run_git(
                    *command,
                    cwd=cwd,
                    timeout=timeout,
                    settings=self._settings(guard.port),
                    variables={"GIT_SSH_COMMAND": self._ssh(guard.port)},
                )
        except GitError as error:
            log.warning("git.remote-failed", url=url, error=str(error))
            raise GitError(_UNREACHABLE.format(url)) from None

    def _local(self, path: Path) -> str:
        resolved = path.resolve()
        if not any(resolved.is_relative_to(root.resolve()) for root in self.local):
            raise InvalidError(
                f"{path} is in no directory whose repositories may be read; an operator lists "
                "those in LOOPWRIGHT_TRAINER_LOCAL_REPOSITORIES",
                field="url",
            )
        return str(resolved)

    def _settings(self, guard: int) -> list[str]:
        settings = [
            *(f"protocol.{name}.allow=always" for name in ("https", "http", "ssh")),
            f"http.proxy=socks5h://127.0.0.1:{guard}",
            "http.followRedirects=false",
        ]
        if self.credentials:
            # Only to be read: git would remove an entry that was refused once.
            store = f"git credential-store --file={shlex.quote(str(self.credentials))}"
            settings.append(f'credential.helper=!f() {{ test "$1" != get || {store} get; }}; f')
            settings.append("credential.useHttpPath=true")
        return settings

    def _ssh(self, guard: int) -> str:
        """The service user's own keys, agent and settings take no part."""
        connect = f"{sys.executable} -I -m loopwright_common.egress.socks_client {guard} %h %p"
        options = {
            "BatchMode": "yes",
            "IdentityFile": "none",
            "IdentityAgent": "none",
            "StrictHostKeyChecking": "yes",
            "ProxyCommand": connect,
        }
        given = [f"-o{name}={value}" for name, value in options.items()]
        return shlex.join(["ssh", "-F", str(self.ssh_config or "/dev/null"), *given])


def secret_file(path: Path | None, setting: str) -> Path | None:
    """The file, absolute; InvalidError where it is not there or others may read it."""
    if path is None:
        return None
    if not path.is_file():
        raise InvalidError(f"{setting}: there is no file {path}", field=setting)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidError(f"{setting}: others may read {path}; chmod 600 it", field=setting)
    return path.absolute()


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidError(f"the URL cannot be read; {_FORM}", field="url") from None
    if parts.scheme not in ("https", "http", "ssh") or not parts.hostname:
        raise InvalidError(f"{parts.scheme or 'the URL'}: {_FORM}", field="url")
    if _has_secret(parts):
        raise InvalidError(
            "the URL holds a user, a password or a token; leave them out, and have an operator put "
            "a line `https://USER:TOKEN@HOST/PATH` into the file that "
            "LOOPWRIGHT_TRAINER_GIT_CREDENTIALS names",
            field="url",
        )
    return url


def _has_secret(parts: SplitResult) -> bool:
    """A user is no secret with ssh, where everybody is `git`."""
    if parts.scheme == "ssh":
        return parts.password is not None or bool(parts.query or parts.fragment)
    return "@" in parts.netloc or bool(parts.query or parts.fragment)
