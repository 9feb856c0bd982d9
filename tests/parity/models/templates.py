"""Chat templates in the manner of each family, and what transformers renders with them.

The templates are in templates/. Each goes with a tokenizer of the same name: in the folder of a family, or, where no family here has it, in
fixtures/templates/NAME.
"""

import datetime
import os

import jinja2
from transformers.utils import chat_template_utils

import cases
import conversations
import families
import kinds
import vocabularies

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = datetime.datetime(2026, 3, 9, 8, 5, 7)


class Frozen(datetime.datetime):
    """The clock of `strftime_now`, stopped."""

    @classmethod
    def now(cls, tz=None):
        return NOW


def source(name):
    with open(os.path.join(HERE, "templates", f"{name}.jinja"), encoding="utf-8") as file:
        return file.read()


def rendered(tokenizer, name, messages, add_generation_prompt=True, tools=None, **variables):
    """One case: the text and its ids, or what the template refuses it with; None if it fails in some other way."""
    given = dict(tools=tools, add_generation_prompt=add_generation_prompt, **variables)
    case = dict(
        name=name, messages=messages, tools=tools, add_generation_prompt=add_generation_prompt, variables=variables, now=NOW.isoformat()
    )
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, **given)
    except (jinja2.TemplateError, TypeError) as error:
        # `raise_exception` raises this very class; its heirs, and TypeError, come of what a template never expected.
        return {**case, "error": error.message} if type(error) is jinja2.TemplateError else None
    return {**case, "rendered": text, "ids": tokenizer.apply_chat_template(messages, return_dict=False, **given)}


def save(out):
    """Writes templates/NAME.json for every template."""
    chat_template_utils.datetime = Frozen
    at = os.path.join(out, "templates")
    os.makedirs(at, exist_ok=True)
    of_families = {family.tokenizer for family in families.FAMILIES.values()}
    for name in kinds.KINDS:
        tokenizer = vocabularies.made(name, source(name))
        folder = name if name in of_families else f"templates/{name}"
        if name not in of_families:
            tokenizer.save_pretrained(os.path.join(out, folder), save_jinja_files=kinds.KINDS[name].jinja_file)
        given = {**conversations.CASES, **conversations.OF_ONE.get(name, {})}
        if "tool" in source(name):
            given |= conversations.WITH_TOOLS
        tried = {title: rendered(tokenizer, title, messages, **more) for title, (messages, more) in given.items()}
        made = [case for case in tried.values() if case]
        cases.write(os.path.join(at, f"{name}.json"), "cases", made, tokenizer=folder)
        refused = sum("error" in case for case in made)
        left_out = ", ".join(title for title, case in tried.items() if not case) or "none"
        print(f"{name}: {len(made)} cases, {refused} of them refused; left out: {left_out}", flush=True)
