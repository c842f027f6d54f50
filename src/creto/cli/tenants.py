"""`creto tenants`: make a tenant."""

from __future__ import annotations

from dataclasses import replace

import click

from creto.cli.context import Cli, group, pass_cli
from creto.cli.local import keystore_of, running_here
from creto.common.errors import AlreadyExists
from creto.common.ids import customer_tenant
from creto.tenants import exists

tenants = group("tenants", "Tenants: each has identities, policies, keys and data of its own.")


@tenants.command()
@click.argument("name")
@pass_cli
async def create(cli: Cli, name: str) -> None:
    """Make a tenant with its own operator. From then on `creto --tenant NAME` works in it.

    The configured tenant (`common.tenant`) is made by the first start and needs no command.
    """
    cli.local_only("a tenant is made")
    tenant = customer_tenant(name)
    async with keystore_of(replace(cli, tenant=None)) as keystore:
        if await exists(keystore, tenant):
            raise AlreadyExists("PL-409", f"the tenant {tenant} exists already", field="name", got=tenant)
    async with running_here(replace(cli, tenant=tenant), "a tenant is made", new_tenant=True) as app:
        made = {"tenant": app.tenant, "operator": app.operator}
    cli.output.say(made, f"Made {tenant}. Its operator is {made['operator']}.")
