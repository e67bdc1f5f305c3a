"""JOB cards are edited without hurting the job."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_enterprise_orch.lab.jes import read_jcl
from airflow_enterprise_orch.systems.mainframe.jcl import JclProblem, held, job_name, records, statements

STEP = "//S1 EXEC PGM=IEFBR14\n"


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("//A JOB", "//A JOB TYPRUN=HOLD"),
        ("//A JOB CLASS=A", "//A JOB CLASS=A,\n//         TYPRUN=HOLD"),
        ("//A JOB (ACCT),'MY NAME',CLASS=A  a remark", "//A JOB (ACCT),'MY NAME',CLASS=A,\n//         TYPRUN=HOLD"),
        ("//A JOB (X,'A B'),\n//   CLASS=A", "//A JOB (X,'A B'),\n//   CLASS=A,\n//         TYPRUN=HOLD"),
        (
            "//A JOB (X),   remark\n//* comment\n//   CLASS=A",
            "//A JOB (X),   remark\n//* comment\n//   CLASS=A,\n//         TYPRUN=HOLD",
        ),
        ("//A JOB (X),'O''NEILL, J'", "//A JOB (X),'O''NEILL, J',\n//         TYPRUN=HOLD"),
        ("/*PRIORITY 5\n//A JOB 1", "/*PRIORITY 5\n//A JOB 1,\n//         TYPRUN=HOLD"),
        (f"{'//A JOB CLASS=A':<72}00010000", "//A JOB CLASS=A,\n//         TYPRUN=HOLD"),
        (f"{'//A JOB CLASS=A a remark that goes on':<71}X\n//  and on", "//A JOB CLASS=A,\n//         TYPRUN=HOLD"),
    ],
)  # fmt: skip
def test_typrun_hold_goes_to_the_end_of_the_job_card(card, expected):
    assert held(f"{card}\n{STEP}") == f"{expected}\n{STEP}"


def test_a_quoted_parameter_may_go_on_in_column_16():
    card = "//A JOB (X),'" + "N" * 58 + "\n//             AME',CLASS=A\n"
    expected = [*card.replace("CLASS=A", "CLASS=A,").splitlines(), "//         TYPRUN=HOLD"]
    assert held(card + STEP).splitlines()[:3] == expected


def test_the_job_class_goes_there_too():
    assert held(f"//A JOB (X)\n{STEP}", "BATCH1").splitlines()[1] == "//         CLASS=BATCH1,TYPRUN=HOLD"


@pytest.mark.parametrize(
    ("jcl", "message"),
    [
        (STEP, "the JCL has no JOB card"),
        ("", "the JCL has no JOB card"),
        (f"//A JOB CLASS=A,TYPRUN=SCAN\n{STEP}", "JCL line 1: the JOB card says TYPRUN=SCAN; remove it"),
        (f"//A JOB (X),\n// TYPRUN=HOLD\n{STEP}", "JCL line 1: the JOB card says TYPRUN=HOLD"),
        (f"//A JOB\n{STEP}//B JOB\n{STEP}", r"JCL line 3: a second JOB card \(B\)"),
        (f"//A JOB CLASS=A,\n{STEP}", "JCL line 1: the statement ends with a comma, but no continuation follows"),
        (f"//A JOB 'NAME\n{STEP}", "JCL line 1: the statement ends with an open apostrophe, but no continuation"),
        (f"//TOOLONGNAME JOB\n{STEP}", "JCL line 1: 'TOOLONGNAME' is no job name"),
        (f"//A JOB\n//*{'x' * 79}\n{STEP}", "JCL line 2 has 82 characters; a record holds 80"),
        (f"//A JOB\n//S EXEC PGM=P,PARM={'X' * 60}\n", "JCL line 2: the parameters run past column 71"),
        ("//A JOB\n//S EXEC\tPGM=P\n", "JCL line 2, column 9: a tab does not survive the way to EBCDIC"),
        ("//A JOB\n//S EXEC PGM=P,PARM='\u20ac'\n", "JCL line 2, column 22: the character '\u20ac' does not survive"),
        (f"//A JOB CLASS=A,USER=ABC,NOTIFY=ABC,REGION=0M,MSGCLASS=H,TIME=1440,PERF=\n{STEP}"[:71] + f"\n{STEP}",
         "JCL line 1: the JOB card fills column 71"),
    ],
)  # fmt: skip
def test_what_cannot_be_held_is_refused_naming_the_line(jcl, message):
    with pytest.raises(JclProblem, match=message):
        held(jcl)


def test_a_class_on_card_and_step_is_refused():
    with pytest.raises(JclProblem, match="the JOB card says CLASS=A and the step says job_class B; remove one"):
        held(f"//A JOB CLASS=A\n{STEP}", "B")


@pytest.mark.parametrize(
    "data",
    [
        "//IN DD DATA\n//B JOB\n/*\n",
        "//IN DD DATA,DLM=@@\n/*\n//B JOB\n@@\n",
        "//IN DD DATA,DLM='##'\n//B JOB\n##\n",
        "//IN DD *,DLM=ZZ\n//B JOB\nZZ\n",
    ],
)
def test_a_job_card_inside_data_is_data(data):
    text = f"//A JOB\n{STEP}{data}//S2 EXEC PGM=IEFBR14\n"
    assert held(text).endswith(f"{STEP}{data}//S2 EXEC PGM=IEFBR14\n")
    assert [statement.name for statement in statements(records(text))] == ["A", "S1", "IN", "S2"]


def test_data_of_dd_star_ends_at_the_next_statement():
    with pytest.raises(JclProblem, match="a second JOB card"):
        held(f"//A JOB\n{STEP}//IN DD *\nsome data\n//B JOB\n")


def test_other_characters_in_comments_are_harmless():
    assert held(f"//A JOB\n//* Auftrag f\u00fcr M\u00fcller\n{STEP}").splitlines()[1] == "//* Auftrag f?r M?ller"


NAMES = st.from_regex(r"\A[A-Z$#@][A-Z0-9$#@]{0,7}\Z")
PLAIN = st.from_regex(r"\A[A-Z0-9$#@]{1,8}\Z")
QUOTED = st.text(st.sampled_from("AB &,()=/*'"), max_size=12).map(lambda text: "'" + text.replace("'", "''") + "'")
LIST = st.lists(st.one_of(PLAIN, QUOTED), min_size=1, max_size=2).map(lambda parts: f"({','.join(parts)})")
POSITIONAL = st.one_of(PLAIN, QUOTED, LIST)
KEYWORD = st.tuples(st.sampled_from(["CLASS", "MSGCLASS", "NOTIFY", "REGION", "USER"]), PLAIN).map("=".join)


@given(
    NAMES,
    st.lists(POSITIONAL, max_size=2),
    st.lists(KEYWORD, max_size=5),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.sampled_from(["", "  REMARK", " A, REMARK"]),
)
def test_any_job_card_keeps_its_parameters_and_gains_the_hold(name, positional, keywords, breaks, remark):
    parameters = [*positional, *keywords]
    lines = [f"//{name} JOB "]
    for index, parameter in enumerate(parameters):
        last = index == len(parameters) - 1
        lines[-1] += parameter if last else f"{parameter},"
        if not last and breaks[index]:
            lines[-1] += remark
            lines.append("//     ")
    text = "\n".join(lines) + (remark if parameters else "") + "\n" + STEP
    if any(len(line) > 68 for line in text.splitlines()):
        return
    edited = held(text)
    card = next(statements(records(edited)))
    assert card.parameters == (*parameters, "TYPRUN=HOLD")
    assert edited.endswith(STEP)
    assert job_name(edited) == name
    # The lab reads JCL with code of its own, and sees the same job.
    assert read_jcl(edited, {}).held


@given(st.text(st.sampled_from("/*A JOBEXCDLM=',()\n&1"), max_size=200))
def test_any_text_is_held_or_refused(text):
    try:
        edited = held(text)
    except JclProblem as problem:
        assert "\n" not in str(problem)
    else:
        assert re.search(r"\bTYPRUN=HOLD$", edited, re.MULTILINE)
