import pytest
from desk import Desk, KnownSecrets, small_job
from hypothesis import given, strategies as st

from dativo_ingest.job.references import (
    Reference,
    ReferenceSyntaxError,
    Resolved,
    parse_template,
    resolve_references,
)
from dativo_ingest.job.yaml_nodes import read_document
from dativo_plugin_sdk.errors import (
    InsufficientPermissionsError,
    InvalidConfigError,
    MissingConfigError,
    TimeoutError,
)


def resolve(
    text: str, environ: dict[str, str] | None = None, secrets: KnownSecrets | None = None, files: dict | None = None
) -> Resolved:
    def read_file(path: str) -> str:
        if path not in (files or {}):
            raise MissingConfigError(f"there is no file {path}")
        return (files or {})[path]

    return resolve_references(
        read_document(text.encode(), "job.yaml"),
        environ=environ or {},
        resolve_secret=secrets or KnownSecrets(),
        read_file=read_file,
    )


def filled_in(written: str, environ: dict[str, str] | None = None, **places: dict[str, str]) -> str:
    quoted = written.replace("'", "''")
    secrets = KnownSecrets(places.get("secrets", {}))
    resolved = resolve(f"key: '{quoted}'\n", environ, secrets, places.get("files"))
    assert resolved.problems == []
    return resolved.data["key"]


def problem(written: str, environ: dict[str, str] | None = None) -> str:
    (found,) = resolve(f"key: '{written}'\n", environ).problems
    return f"{found.error_class.__name__} {found.position.line}:{found.position.column} {found.message}"


ENVIRON = {"A": "1", "B_2": "two", "EMPTY": ""}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("${A}", "1", id="short"),
        pytest.param("${env:A}", "1", id="long"),
        pytest.param("a${A}b${env:B_2}c", "a1btwoc", id="several with text"),
        pytest.param("${NO:-x}", "x", id="default"),
        pytest.param("${env:NO:-x y:z-}", "x y:z-", id="default with punctuation"),
        pytest.param("${A:-x}", "1", id="default not needed"),
        pytest.param("${EMPTY:-x}", "x", id="default for an empty one"),
        pytest.param("${EMPTY}", "", id="empty"),
        pytest.param("${NO:-}", "", id="empty default"),
        pytest.param("${NO:-${NEITHER:-${B_2}}}", "two", id="references in defaults"),
        pytest.param("${NO:-$${A}", "${A", id="escape in a default"),
        pytest.param("$${A}", "${A}", id="escape"),
        pytest.param("$${A}${A}", "${A}1", id="escape and reference"),
        pytest.param("$A $$ $", "$A $$ $", id="other dollars"),
        pytest.param("a}b", "a}b", id="brace of its own"),
        pytest.param("${secret:pg/password}", "s3cret", id="secret"),
        pytest.param("${secret:vault:kv/pg#user}", "bob", id="secret of a back end with a key"),
        pytest.param("${secret:${B_2}/x}", "nested", id="reference in a path"),
        pytest.param("${file:certs/ca.pem}", "PEM", id="file"),
    ],
)
def test_references_become_their_values(written: str, expected: str) -> None:
    secrets = {"pg/password": "s3cret", "vault:kv/pg#user": "bob", "two/x": "nested"}

    assert filled_in(written, ENVIRON, secrets=secrets, files={"certs/ca.pem": "PEM"}) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("${NO}", "MissingConfigError 1:6 environment variable NO is not set", id="not set"),
        pytest.param("${NO:-${NEITHER}}", "environment variable NEITHER is not set", id="default not set"),
        pytest.param("${secret:no}", "MissingConfigError 1:6 secret 'no': there is none", id="no secret"),
        pytest.param("${file:no}", "MissingConfigError 1:6 there is no file no", id="no file"),
        pytest.param("${A", "InvalidConfigError 1:6 a reference is not closed", id="not closed"),
        pytest.param("${secret:a", "a reference is not closed", id="secret not closed"),
        pytest.param("${}", "a variable's name must follow", id="nothing inside"),
        pytest.param("${1A}", "a variable's name must follow", id="name that begins with a digit"),
        pytest.param("${A B}", "after a variable's name must come", id="blank in a name"),
        pytest.param("${A:}", "InvalidConfigError", id="colon alone"),
        pytest.param("${vault:x}", "there is no such kind of reference", id="unknown kind"),
        pytest.param("${secret:}", "a path must follow ${secret:", id="secret without a path"),
        pytest.param("${file: }", "a path must follow ${file:", id="file without a path"),
        pytest.param("${secret:a:-b}", "a secret reference has no default", id="secret with a default"),
        pytest.param("${NO:-" * 30, "nested more than 20 deep", id="nested deeply"),
    ],
)
def test_what_gives_no_value_is_a_problem_at_the_place_of_its_value(written: str, expected: str) -> None:
    assert expected in problem(written, ENVIRON)


@pytest.mark.parametrize(
    "value",
    ["${A}", "$${A}", "${secret:x}", "a: [b", "# no comment", "${", '"', "&anchor", "*alias", "yes", "{}"],
)
def test_what_a_secret_or_a_file_gives_is_used_as_it_is(value: str) -> None:
    assert filled_in("${secret:x}", ENVIRON, secrets={"x": value}) == value
    assert filled_in("${file:x}", ENVIRON, files={"x": value}) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("http://${HOST}:${env:PORT}/", "http://db:5432/", id="other variables"),
        pytest.param("${NO:-localhost}", "localhost", id="a default"),
        pytest.param("$${HOST}", "${HOST}", id="an escape"),
        pytest.param("${secret:x}${file:/etc/passwd}", "${secret:x}${file:/etc/passwd}", id="no secrets, no files"),
        pytest.param("p${ss${}w$rd${", "p${ss${}w$rd${", id="what is no reference"),
        pytest.param("${CHAIN}", "db!", id="a chain"),
        pytest.param("a: b\n- [", "a: b\n- [", id="what looks like YAML"),
    ],
)
def test_a_variable_may_refer_to_variables_and_to_nothing_else(value: str, expected: str) -> None:
    environ = {"X": value, "HOST": "db", "PORT": "5432", "CHAIN": "${LINK}!", "LINK": "${HOST}"}

    assert filled_in("${X}", environ) == expected


@pytest.mark.parametrize(
    ("written", "environ", "expected"),
    [
        pytest.param("${A}", {"A": "${A}"}, "InvalidConfigError 1:6 cyclic reference: A → A", id="itself"),
        pytest.param("${A}", {"A": "x${B}", "B": "${env:A}y"}, "cyclic reference: A → B → A", id="two"),
        pytest.param("${C}", {"C": "${A}", "A": "${B}", "B": "${A}"}, "cyclic reference: A → B → A", id="behind one"),
        pytest.param("${A:-${A}}", {}, "cyclic reference: A → A", id="its own default"),
        pytest.param("${A}", {"A": "${B}"}, "variable B is not set; the value of A refers to it", id="leads nowhere"),
        pytest.param(
            "${V0}",
            {f"V{i}": f"${{V{i + 1}}}" for i in range(99)},
            "lead to variables more than 20 deep",
            id="long chain",
        ),
        pytest.param(
            "${V0}",
            {"V19": "x" * 100, **{f"V{i}": f"${{V{i + 1}}}" * 10 for i in range(19)}},
            "references make more than 1048576 characters",
            id="multiplying",
        ),
    ],
)
def test_variables_that_lead_nowhere_are_a_problem(written: str, environ: dict[str, str], expected: str) -> None:
    assert expected in problem(written, environ)


def test_every_problem_of_a_file_is_listed_and_each_has_its_place_and_hint() -> None:
    resolved = resolve("a: ${ONE}\nb:\n  - x\n  - ${TWO}\nc: ${THREE:-ok}\n")

    assert [(each.loc, each.position.line, each.position.column) for each in resolved.problems] == [
        (("a",), 1, 4),
        (("b", 1), 4, 5),
    ]
    assert resolved.failed == {("a",), ("b", 1)}
    assert resolved.problems[0].hint is not None
    assert "${ONE:-…}" in resolved.problems[0].hint
    assert resolved.data["c"] == "ok"


def test_references_in_keys_are_refused() -> None:
    (found,) = resolve('a: 1\n"${X}": 2\n"$${Y}": 3\n').problems

    assert (found.position.line, found.loc) == (2, ("${X}",))
    assert "not in keys" in found.message


def test_a_secret_is_asked_for_once_and_with_the_back_ends_of_the_job() -> None:
    secrets = KnownSecrets({"a": "value"})

    resolve("x: ${secret:a}\ny: ${secret:a}\nsecrets: {vault: {url: '${U}'}}\n", {"U": "http://v"}, secrets)

    assert secrets.asked == [("a", {"vault": {"url": "http://v"}})]


def test_the_configuration_of_secret_back_ends_cannot_refer_to_secrets() -> None:
    (found,) = resolve("secrets: {vault: {token: '${secret:a}'}}\n").problems

    assert "cannot refer to secrets" in found.message


def test_what_is_hidden_are_secrets_files_credentials_and_passwords() -> None:
    text = """
source:
  connection:
    host: ${HOST}
    api_key: ${API_KEY}
    url: http://u:${URL_PASSWORD}@host/
  credentials: {user: "${PGUSER}", password: written-out, kind: basic, passphrase: 12345, key: "${NO:-a-default}"}
  options: {header: "${secret:x}", page_token: next, sort_key: created_at}
streams: {a: {path: "${file:f}"}}
secrets: {vault: {token: "${VAULT_TOKEN}"}}
"""
    environ = {
        "HOST": "host-is-shown",
        "API_KEY": "api-key",
        "URL_PASSWORD": "url%2Fpassword",
        "PGUSER": "pg-user",
        "VAULT_TOKEN": "vault-token",
    }
    secrets = KnownSecrets({"x": "secret-x"})

    resolve(text, environ, secrets, {"f": "file-f"})

    assert set(secrets.hidden) == {
        *("api-key", "url%2Fpassword", "url/password", "pg-user", "vault-token"),
        *("written-out", "12345", "a-default", "secret-x", "file-f"),
    }


def test_a_back_end_that_cannot_be_reached_keeps_its_class_and_gets_a_place(desk: Desk) -> None:
    class Down(KnownSecrets):
        def __call__(self, reference: str, backends: object) -> str:
            raise TimeoutError(f"no answer for {reference}")

    desk.secrets = Down()

    with pytest.raises(TimeoutError) as caught:
        desk.load("version: 1\nname: ${secret:a}\n")

    assert caught.value.message == "job.yaml:2:7 name: no answer for a"
    assert caught.value.retryable


def test_a_file_is_read_beside_the_job_without_its_last_line_end(desk: Desk) -> None:
    (desk.folder / "token.txt").write_bytes(b"\xef\xbb\xbft0ken \r\n")

    loaded = desk.load(small_job() + "secrets: {v: {t: '${file:token.txt}'}}\n")

    assert loaded.job.secrets["v"]["t"] == "t0ken "
    assert desk.secrets.hidden[0] == "t0ken "


def test_files_that_are_no_text_or_no_files_are_refused(desk: Desk) -> None:
    (desk.folder / "binary").write_bytes(b"\xff\xfe\x00")
    text = small_job() + "secrets: {v: {a: '${file:binary}', b: '${file:.}', c: '${file:s3://x/y}', d: '${file:no}'}}\n"

    with pytest.raises(InvalidConfigError) as caught:
        desk.load(text)

    lines = caught.value.message.splitlines()
    assert [line.split(" ")[1] for line in lines] == ["secrets.v.a:", "secrets.v.b:", "secrets.v.c:", "secrets.v.d:"]
    assert "not UTF-8" in lines[0]
    assert "cannot be read: Is a directory" in lines[1]
    assert "local files only" in lines[2]
    assert "there is no such file" in lines[3]


def test_the_parts_of_a_template_are_text_and_references() -> None:
    assert parse_template("a${B:-c}d${secret:e#f}") == (
        "a",
        Reference("env", ("B",), ("c",)),
        "d",
        Reference("secret", ("e#f",)),
    )


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_escaped_text_comes_back_as_it_was(text: str) -> None:
    # A $ right before an escape cannot be told from part of it, so such texts are left out.
    written = text.replace("${", "$${")
    if "$$${" in written:
        return

    assert "".join(map(str, parse_template(written))) == text


@given(st.text(alphabet="${}:-AB env:secret:file:#/", max_size=60))
def test_any_text_is_a_template_or_a_syntax_error(text: str) -> None:
    caught: ReferenceSyntaxError | None = None

    try:
        parse_template(text)
    except ReferenceSyntaxError as error:
        caught = error

    assert caught is None or "${" in text


@given(
    st.dictionaries(st.sampled_from("ABC"), st.text(alphabet="${}:-ABCx env", max_size=30)),
    st.text(alphabet="${}:-ABCx", max_size=30),
)
def test_any_environment_gives_text_or_problems(environ: dict[str, str], written: str) -> None:
    resolved = resolve(f'key: "{written}"\n', environ)

    assert isinstance(resolved.data["key"], str)
    assert bool(resolved.problems) == (("key",) in resolved.failed)


def test_a_file_that_may_not_be_read_is_a_matter_of_permission() -> None:
    def forbidden(path: str) -> str:
        raise InsufficientPermissionsError(f"the file {path} may not be read")

    with pytest.raises(InsufficientPermissionsError, match=r"job\.yaml:1:4 a: the file x may not be read"):
        resolve_references(
            read_document(b"a: ${file:x}\n", "job.yaml"),
            environ={},
            resolve_secret=KnownSecrets(),
            read_file=forbidden,
        )
