"""Two keys, signed tiny RPMs and one whole publication of them, made once for all tests that sign or publish."""

from __future__ import annotations

import pytest

from builder.sign import Signer, new_key
from tests.need import need
from tests.tools.publishing import PACKAGES, REQUIRES, Shop, make_rpms, put_path, sign_all, two_streams


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Everything signing and publishing tests start from; nobody writes into it."""
    need("gpg", "gpg-agent", "rpmsign", "rpmkeys", "rpmbuild")
    base = tmp_path_factory.mktemp("shop")
    for name in ("home", "foreign"):
        new_key(base / name, name)
    signer = Signer.open(base / "home")
    unsigned = make_rpms(base / "rpms", PACKAGES, requires=REQUIRES)
    rpms = sign_all(signer, unsigned, base / "signed")
    made = Shop(
        home=base / "home",
        signer=signer,
        foreign_home=base / "foreign",
        foreign=Signer.open(base / "foreign"),
        unsigned=unsigned,
        rpms=rpms,
        published=base / "repo",
    )
    return made._replace(published=put_path(made, two_streams(rpms), base / "repo"))
