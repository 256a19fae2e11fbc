"""Prints the permissions that verifying an existing mesh takes, as roles."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mesh_fixtures import options
from mesh_fixtures.commands import value_of
from mesh_fixtures.contract import SYSTEM_NAMESPACE
from mesh_fixtures.lab.kubeconfig.provider import SYSTEM_NAMESPACE as SYSTEM_NAMESPACE_OPTION
from mesh_fixtures.progress import Sink

SUMMARY = "print the permissions that verifying an existing mesh takes, as roles for kubectl apply"


def add(parser: ArgumentParser) -> None:
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--user", metavar="NAME", help="bind the roles to a user")
    who.add_argument("--group", metavar="NAME", help="bind the roles to a group")
    who.add_argument(
        "--service-account", metavar="NAMESPACE/NAME", help="bind the roles to a service account"
    )
    options.declare(parser, SYSTEM_NAMESPACE_OPTION)
    parser.add_argument(
        "--namespace",
        metavar="NAMESPACE",
        default="",
        help="for runs in this namespace, which is provided for them: what runs make is permitted "
        "there alone, and making namespaces is not (default: runs make namespaces, whose names "
        "roles cannot know)",
    )
    parser.epilog = "Needs no cluster. `doctor --kubeconfig` says which permission is missing."


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    from mesh_fixtures.lab.kubeconfig.permissions import RoleSubject, roles

    subject = None
    if arguments.user:
        subject = RoleSubject("User", arguments.user)
    elif arguments.group:
        subject = RoleSubject("Group", arguments.group)
    elif arguments.service_account:
        namespace, _, name = arguments.service_account.rpartition("/")
        subject = RoleSubject("ServiceAccount", name, namespace or "default")
    system_namespace = value_of(arguments, SYSTEM_NAMESPACE_OPTION) or SYSTEM_NAMESPACE
    print(roles(subject, system_namespace, arguments.namespace), end="")
    return 0
