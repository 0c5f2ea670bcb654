"""The `oauth` table of a source, and where its provider's endpoints are."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from sync.kit.tls import is_loopback


class OAuthConfig(BaseModel):
    """The `oauth` table of a source: who the application is at the provider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: Literal["google", "microsoft", "custom"] = Field(
        description="google, microsoft, or custom with addresses."
    )
    flow: Literal["device", "browser", "app"] | None = Field(
        None,
        description="device: a code typed into a page; browser: a page whose last address is pasted; app: no user at all.",
    )
    client_id: str = Field("", description="The application's id at the provider.")
    client_secret: SecretStr | None = Field(None, description="The application's secret, where it has one.")
    tenant: str = Field("organizations", min_length=1, description="Microsoft: the directory's id or domain.")
    service_account: SecretStr | None = Field(None, description="Google, flow app: the service account's key, as JSON.")
    scopes: tuple[str, ...] = Field((), description="What to ask for; each provider has a default.")
    token_url: str | None = Field(None, description="custom: the token endpoint.")
    device_url: str | None = Field(None, description="custom, flow device: the device authorization endpoint.")
    authorize_url: str | None = Field(None, description="custom, flow browser: the authorization endpoint.")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        for name in ("token_url", "device_url", "authorize_url"):
            _check_url(name, getattr(self, name))
        if self.service_account is None and not self.client_id:
            raise ValueError("needs client_id: the application's id at the provider")
        if self.effective_flow == "app":
            self._app_is_complete()
        if self.provider == "google" and self.effective_flow == "device":
            raise ValueError(
                'Google allows no mail in the flow "device": use "browser", or "app" with a service account'
            )
        if self.provider == "custom":
            needed = {"device": "device_url", "browser": "authorize_url", "app": "token_url"}[self.effective_flow]
            if self.token_url is None or getattr(self, needed) is None:
                raise ValueError(f'provider = "custom" needs token_url, and {needed} for this flow')
        return self

    def _app_is_complete(self) -> None:
        if self.provider == "google":
            if self.service_account is None:
                raise ValueError('Google\'s flow "app" needs service_account = { file = "…" }: the key of one, as JSON')
        elif self.client_secret is None:
            raise ValueError('the flow "app" needs client_secret')
        if self.provider == "microsoft" and self.tenant in {"organizations", "common", "consumers"}:
            raise ValueError('the flow "app" needs tenant: the directory\'s id or domain')

    @property
    def effective_flow(self) -> Literal["device", "browser", "app"]:
        """The configured flow, or the provider's usual one."""
        return self.flow or ("browser" if self.provider == "google" else "device")

    def endpoint(self, name: Literal["token", "device", "authorize"]) -> str:
        """An address of the provider."""
        configured = {"token": self.token_url, "device": self.device_url, "authorize": self.authorize_url}[name]
        if configured is not None:
            return configured
        if self.provider == "google":
            return {
                "token": "https://oauth2.googleapis.com/token",
                "device": "https://oauth2.googleapis.com/device/code",
                "authorize": "https://accounts.google.com/o/oauth2/v2/auth",
            }[name]
        path = {"token": "token", "device": "devicecode", "authorize": "authorize"}[name]
        return f"https://login.microsoftonline.com/{quote(self.tenant, safe='')}/oauth2/v2.0/{path}"


def _check_url(name: str, url: str | None) -> None:
    if url is None:
        return
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise ValueError(f"{name} must begin with https: secrets travel to it")
