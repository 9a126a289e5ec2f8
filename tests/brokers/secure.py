"""A real Apache Kafka with authentication and authorization."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from forebay.stream.config.sections import KafkaSection
from tests.brokers.apache import ApacheKafka
from tests.brokers.jars import cache_folder, fetch_jars, find_java
from tests.brokers.ports import free_ports
from tests.eventually import eventually_sync

CERTIFICATES = Path(__file__).parent.parent / "config" / "certificates"
PASSWORD = "hunter2"
LISTENERS = ("SASL_PLAINTEXT", "SASL_SSL", "SSL")
SCRAM = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}

KNOWN_WITHIN_S = 60.0


class SecureKafka(ApacheKafka):
    """A broker with a listener for each security protocol. The user alice may do everything, others what they are allowed."""

    def __init__(self, folder: Path) -> None:
        java, _ = find_java(os.environ)
        super().__init__(fetch_jars(cache_folder(os.environ)), folder, java=java)
        self.ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))

    def section(self, protocol: str, **more: object) -> KafkaSection:
        """Return settings for the listener of a security protocol."""
        servers = self.bootstrap if protocol == "PLAINTEXT" else f"127.0.0.1:{self.ports[protocol]}"
        tls = {"ssl_cafile": str(CERTIFICATES / "ca.pem")} if protocol.endswith("SSL") else {}
        return KafkaSection.model_validate({"bootstrap_servers": servers, "security_protocol": protocol, **tls, **more})

    def _write_properties(self, node: Any) -> None:
        super()._write_properties(node)
        plain = f"PLAINTEXT://127.0.0.1:{node.port}"
        secure = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        properties = {
            "listeners": f"{plain},CONTROLLER://127.0.0.1:{node.controller_port},{secure}",
            "advertised.listeners": f"{plain},{secure}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            + ",".join(f"{name}:{name}" for name in LISTENERS),
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(CERTIFICATES / "broker.p12"),
            "ssl.keystore.password": PASSWORD,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(CERTIFICATES / "ca.pem"),
            "listener.name.ssl.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "transaction.max.timeout.ms": "60000",
            "super.users": "User:ANONYMOUS;User:alice;User:CN=client",
        }
        security = "org.apache.kafka.common.security"
        for name in ("sasl_plaintext", "sasl_ssl"):
            logins = {
                "plain": f'{security}.plain.PlainLoginModule required user_alice="{PASSWORD}" user_bob="{PASSWORD}" '
                f'user_carol="{PASSWORD}";',
                "scram-sha-256": f"{security}.scram.ScramLoginModule required;",
                "scram-sha-512": f"{security}.scram.ScramLoginModule required;",
                "oauthbearer": f"{security}.oauthbearer.OAuthBearerLoginModule required "
                'unsecuredLoginStringClaim_sub="broker";',
            }
            for mechanism, login in logins.items():
                properties[f"listener.name.{name}.{mechanism}.sasl.jaas.config"] = login
        with (node.folder / "server.properties").open("a") as file:
            file.writelines(f"{key}={value}\n" for key, value in properties.items())

    def add_user(self, user: str, mechanism: str = "SCRAM-SHA-256") -> None:
        """Add a user with the password PASSWORD for SCRAM."""
        credential = UserScramCredentialUpsertion(user, ScramCredentialInfo(SCRAM[mechanism], 4096), PASSWORD.encode())
        admin = AdminClient({"bootstrap.servers": self.bootstrap})  # keep a reference: without one it stops at once
        _finish(admin.alter_user_scram_credentials([credential]))

    def allow(self, user: str, *rules: tuple[ResourceType, str, AclOperation, ResourcePatternType]) -> None:
        """Allow operations to a user from any host, and wait until the broker knows: the controller answers earlier."""
        bindings = [
            AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            for kind, name, operation, pattern in rules
        ]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        _finish(admin.create_acls(bindings))
        of_user = AclBindingFilter(
            ResourceType.ANY,
            None,
            ResourcePatternType.ANY,
            f"User:{user}",
            None,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        eventually_sync(
            lambda: set(bindings) - set(admin.describe_acls(of_user).result(30)),
            f"all access control lists of {user} known to the broker (seen: those missing)",
            until=lambda missing: not missing,
            timeout_s=KNOWN_WITHIN_S,
        )


def _finish(futures: dict[Any, Any]) -> None:
    for future in futures.values():
        future.result(30)


def login(mechanism: str, user: str = "alice", password: str = PASSWORD) -> dict[str, object]:
    """Return settings of `[kafka]` for a user."""
    return {"sasl_mechanism": mechanism, "sasl_username": user, "sasl_password": password}
