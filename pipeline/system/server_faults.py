"""What the fault of a tracking server, or of the store of its artifacts, means: one table from its text to its kind.

MLflow reports nearly everything as its own error of status 500: a password refused by a proxy, a page where JSON was
expected, a name that nobody knows, a database of another version. Only the texts, and the errors behind the error,
tell them apart.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import TransientError, UserError, WsolError

NOT_MLFLOW = (
    "what answers there is not MLflow (the login of a proxy, or another service?). Set MLFLOW_TRACKING_URI to the "
    "address of MLflow's own API"
)
_ADDRESS = "Correct MLFLOW_TRACKING_URI"
_CERTIFICATE = (
    "its certificate is not trusted, or it does not trust ours. Let MLFLOW_TRACKING_SERVER_CERT_PATH or "
    "REQUESTS_CA_BUNDLE name the file with the authority that signed it"
)
_AWS = (
    "its artifacts lie in S3. Set valid AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, MLFLOW_S3_ENDPOINT_URL where the "
    "store is not Amazon's, and see that the bucket exists and these keys may write to it"
)


@dataclass(frozen=True)
class Fault:
    """One row: the first whose pattern is found in the description of an error says what the error means."""

    pattern: str
    kind: type[WsolError]
    meaning: str = ""

    def fits(self, description: str) -> bool:
        """Whether the pattern is found; ``^`` begins each line of a description."""
        return re.search(self.pattern, description, re.IGNORECASE | re.MULTILINE) is not None


FAULTS = (
    # A database that is written to without a server.
    Fault(
        r"out-of-date database schema|can't locate revision|no such (table|column)|relation \S+ does not exist",
        UserError,
        "its tables are those of another version of MLflow. Back it up, then run `mlflow db upgrade ADDRESS`; where "
        "that does not know the revision, a newer MLflow made it, and that is the one to install",
    ),
    Fault(
        r"password authentication failed|no password supplied|(role|database) \S+ does not exist|unknown database|"
        r"access denied for user",
        UserError,
        f"the database does not take this user, password or name. {_ADDRESS}",
    ),
    # The store of its artifacts.
    Fault(
        r"^(ImportError|ModuleNotFoundError):|NoSuchModuleError",
        UserError,
        "a package is missing to reach it or its artifacts. Install the one that is named",
    ),
    Fault(
        r"could not find a registered artifact repository|an mlflow-artifacts URI was supplied|"
        r"does not connect to artifact location",
        UserError,
        "its artifacts cannot be reached from here. Set another track.experiment in params.yaml",
    ),
    Fault(
        r"^(NoCredentials|PartialCredentials|CredentialRetrieval|TokenRetrieval|NoRegion|SSO\w+|UnauthorizedSSOToken|"
        r"NoAuthToken|ParamValidation|InvalidConfig)Error:|^ProfileNotFound:|"
        r"\((403|404|Forbidden|InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|AllAccessDisabled|ExpiredToken|"
        r"InvalidToken|NoSuchBucket|InvalidBucketName|PermanentRedirect|RequestTimeTooSkewed)\) when calling",
        UserError,
        _AWS,
    ),
    Fault(
        r"^(DefaultCredentialsError|RefreshError|Forbidden|Unauthorized):",
        UserError,
        "its artifacts lie in Google Cloud Storage. Let GOOGLE_APPLICATION_CREDENTIALS name a file with credentials "
        "that may write to that bucket",
    ),
    Fault(
        r"AZURE_STORAGE_|^ClientAuthenticationError:",
        UserError,
        "its artifacts lie in Azure. Set AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ACCESS_KEY",
    ),
    # The way to it.
    Fault(r"temporary failure in name resolution", TransientError, "its name cannot be looked up now"),
    # A container's name, which has no dot, goes with the container and comes back with it.
    Fault(
        r"(failed to resolve|could not translate host name) [\"'][^.\"']+[\"']",
        TransientError,
        f"nobody knows its name now. Unless it is merely stopped: {_ADDRESS}",
    ),
    Fault(r"failed to resolve|could not translate host name", UserError, f"nobody knows its name. {_ADDRESS}"),
    Fault(
        r"could not find (a suitable TLS CA certificate bundle|the TLS (certificate|key) file)",
        UserError,
        "a file of certificates is missing. Correct MLFLOW_TRACKING_SERVER_CERT_PATH, MLFLOW_TRACKING_CLIENT_CERT_PATH "
        "or REQUESTS_CA_BUNDLE",
    ),
    Fault(
        r"WRONG_VERSION_NUMBER|record layer failure|HTTP request (was )?(sent )?to (an )?HTTPS",
        UserError,
        f"one side speaks https and the other http. {_ADDRESS}",
    ),
    Fault(r"CERTIFICATE_VERIFY_FAILED|\[SSL: (?!UNEXPECTED_EOF)", UserError, _CERTIFICATE),
    Fault(r"status 407|failed: 407", UserError, "the proxy wants a password. Correct HTTP_PROXY or HTTPS_PROXY"),
    Fault(
        r"^(InvalidUrlException|InvalidURL|InvalidSchema|MissingSchema|LocationParseError|ArgumentError|UnicodeError|"
        r"UnsupportedModelRegistryStoreURIException):|unsupported URI",
        UserError,
        f"this is not an address that MLflow understands. {_ADDRESS}",
    ),
    # What it answers.
    Fault(r"^status (408|425|429|502|503|504):", TransientError),
    Fault(r"invalid host header", UserError, "it does not know this name. Add it to its MLFLOW_SERVER_ALLOWED_HOSTS"),
    Fault(
        r"^status 401:",
        UserError,
        "it does not know who asks. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
        "MLFLOW_TRACKING_TOKEN",
    ),
    Fault(
        r"^status 403:",
        UserError,
        "the user of MLFLOW_TRACKING_USERNAME or MLFLOW_TRACKING_TOKEN may not do that. Get the permission on the "
        "experiment, or set another track.experiment in params.yaml",
    ),
    Fault(r"^status 413:", UserError, "a proxy in front of it refuses a request of this size. Raise its limit"),
    Fault(
        r"not in a valid JSON format|^TooManyRedirects:|^foreign JSON|BadStatusLine|^status (3\d\d|405|406|415):|"
        r"^status \d+: .*response body: '\s*<",
        UserError,
        NOT_MLFLOW,
    ),
)
#: Packages that speak with servers.
_LIBRARIES = {"azure", "boto3", "botocore", "google", "mlflow", "requests", "s3transfer", "sqlalchemy", "urllib3"}


def classify(error: BaseException) -> Fault | None:
    """What an error of the tracking server, its database or its artifacts means.

    Returns:
        The row of the table; None for an error of this program.
    """
    description = describe(error)
    found = next((fault for fault in FAULTS if fault.fits(description)), None)
    if found is not None or not _is_from_outside(error):
        return found
    return Fault("", UserError if 400 <= status_of(error) < 500 else TransientError)


def describe(error: BaseException) -> str:
    """The status, the kinds and the texts of an error and of those it came from, a line each."""
    lines = [f"status {status_of(error)}: {_text(error)}"]
    for cause in causes(error):
        answer = getattr(cause, "json", None)
        if isinstance(answer, dict) and "error_code" not in answer:
            lines.append("foreign JSON")
        lines.append(f"{type(cause).__name__}: {_text(cause)}")
    return "\n".join(lines)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those it came from, the outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def status_of(error: BaseException) -> int:
    """Of the answer that an error is about; 500 where there was none."""
    for cause in causes(error):
        if isinstance(status := getattr(getattr(cause, "response", None), "status_code", None), int):
            return status
        if told := re.search(r"failed with error code (\d{3})", str(cause)):
            return int(told[1])
        if callable(known := getattr(cause, "get_http_status_code", None)):
            return int(known())
    return 500


def _is_from_outside(error: BaseException) -> bool:
    """Whether a library that speaks with servers, or the system, raised it."""
    return any(
        isinstance(cause, OSError) or type(cause).__module__.partition(".")[0] in _LIBRARIES for cause in causes(error)
    )


def _text(error: BaseException) -> str:
    # A page of an unknown service may be long; what tells it stands at its beginning.
    return str(error)[:2000].replace("\n", " ")
