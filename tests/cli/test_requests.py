from dataclasses import fields
from typing import get_args

import pytest
import typer.main

from imggen.cli import app, enlarging, making
from imggen.plan.schema import tasks
from imggen.plan.schema.request import GenerateRequest, Task
from imggen.plan.schema.tasks import TASKS
from imggen.plan.settings import settings
from imggen.plan.upscaling.plans import UpscaleRequest


def options(command):
    group = typer.main.get_command(app.app)
    return {parameter.name for parameter in group.commands[command].params} - {"show_help", "show_help_all"}


def names(request):
    return {member.name for member in fields(request)} - {"origin"}


def test_every_task_is_a_row():
    assert set(TASKS) == set(get_args(Task))


@pytest.mark.parametrize("task", TASKS)
def test_every_option_of_a_task_is_a_field_of_its_request(task, monkeypatch):
    asked = options(TASKS[task].command)
    assert asked - {"image", "prompt_option"} - {*settings.RUNNING} <= names(GenerateRequest)
    requests = []
    monkeypatch.setattr(making, "make", lambda request, _: requests.append(request))
    making.run(task, dict.fromkeys(asked))
    assert [request.task for request in requests] == [task]


@pytest.mark.parametrize("task", TASKS)
def test_a_command_has_the_options_that_its_task_has(task):
    assert options(TASKS[task].command) & {*tasks.options()} == {*TASKS[task].options}


def test_every_option_of_upscale_is_a_field_of_its_request():
    asked = options("upscale")
    assert asked - {*settings.RUNNING} <= names(UpscaleRequest)
    assert enlarging.complete(dict.fromkeys(asked), {}) == UpscaleRequest(files=())
