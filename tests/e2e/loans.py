"""Loans on their way through a mainframe, a branch, people, a UNIX host and a share, for whoever looks at the pages."""

from __future__ import annotations

from company import JOB

LOAN, BOARD, REGISTER = "loan_to_signature", "board_loan_to_signature", "loan_register"
TITLES = {LOAN: "Loan to signature", BOARD: "Loan of a board member", REGISTER: "Register of loans"}
"""The second is held while the first goes on."""
DONE, ASKS, TURNED, FAILS, PARKED = "small", "large", "turned", "closed-account", "register"
"""The runs: it ended well; it waits for a person; it was held and sent another way; it failed; nobody can tell."""
STREAM = {DONE: LOAN, ASKS: LOAN, FAILS: LOAN, TURNED: BOARD, PARKED: REGISTER}
KEYS = {run: f"LOAN-00000{number}" for number, run in enumerate((DONE, ASKS, TURNED, FAILS, PARKED), start=1)}
STEPS = {
    "score": "Score the applicant", "route": "Does a person decide?", "sign": "Sign the loan",
    "pay_out": "Pay it out", "certify": "Certificate of completion",
}  # fmt: skip
HEAD = 'business: {domain: Lending, owner: lending-desk, criticality: high, key: "{{ params.loan }}"}'


def _template(stream: str, title: str) -> str:
    return f"""
value_stream: {stream}
title: {title}
{HEAD}
params:
  loan: {{type: string, title: Loan}}
  amount: {{type: number, title: Amount}}
  until: {{type: string, title: Runs until, default: ""}}
  account: {{type: string, title: Account, default: ""}}
due: {{within: 4h}}
steps:
  score:
    title: Score the applicant
    mainframe.job:
      connection: zos_prod
      dataset: PROD.JCL(CREDCHK)
      symbols: {{ORDER: "{{{{ params.loan }}}}", CLASS: B}}
    outputs: {{grade: {{spool: SYSPRINT, match: 'CREDIT CLASS=(\\w+)', type: string}}}}
  route:
    title: Does a person decide?
    after: [score]
    branch:
      - when: params.amount > 50000.0 && steps.score.grade != "A"
        then: [sign]
      - otherwise: [pay_out]
  sign: {{title: Sign the loan, approval: {{subject: "Grant {{{{ params.loan }}}} over {{{{ params.amount }}}} EUR?"}}}}
  pay_out:
    title: Pay it out
    after: [sign]
    unix.script:
      connection: virtual_server
      script: '{JOB}; [ -z "$ACCOUNT" ] || {{ echo "account $ACCOUNT is closed"; exit 3; }}'
      env: {{UNTIL: "{{{{ params.until }}}}", ACCOUNT: "{{{{ params.account }}}}"}}
  certify:
    title: Certificate of completion
    after: [pay_out]
    fileshare.certificate:
      connection: customer_share
      to: "customers/{{{{ params.loan }}}}/certificate.pdf"
      instance: "{{{{ params.loan }}}}"
      issuer: Example Bank
      recipient: Example Ltd
      text: "The loan was paid out."
      facts: {{Grade: "{{{{ steps.score.grade }}}}"}}
      link: 7d
    outputs:
      address: {{from: address, match: '(.+)', type: string}}
      verification: {{from: code, match: '(.+)', type: string}}
      link: {{from: link, match: '(.+)', type: string}}
"""


TEMPLATES = {
    **{one: _template(one, TITLES[one]) for one in (LOAN, BOARD)},
    REGISTER: f"""
value_stream: {REGISTER}
title: {TITLES[REGISTER]}
{HEAD}
params: {{loan: {{type: string}}}}
steps:
  enter:
    title: Enter it
    sap.application_job:
      connection: sap_s4
      template: ZLAB_PROGRAM
      check: false
      parameters: {{P_SAY: "register {{{{ params.loan }}}}"}}
""",
}
