"""The rows of the tasks: which command has which option."""

import pytest

from imggen.plan.schema import tasks
from imggen.plan.schema.tasks import TASKS


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ("text-to-image", "imggen generate --from FILE"),
        ("image-to-image", "imggen img2img PICTURE --from FILE"),
        ("inpaint", "imggen inpaint PICTURE --mask MASK --from FILE"),
        ("outpaint", "imggen outpaint PICTURE --from FILE"),
        ("blend", "imggen blend PARENT... --from FILE"),
        ("style", "imggen style PICTURE --like STYLE --from FILE"),
    ],
)
def test_the_line_that_makes_a_picture_again_names_the_commands_operands(task, line):
    assert TASKS[task].again == line


@pytest.mark.parametrize(
    ("option", "commands"),
    [
        ("size", ("generate", "img2img", "inpaint", "blend", "style")),
        ("tile", ("generate", "img2img")),
        ("strength", ("img2img", "inpaint", "outpaint", "blend", "style")),
        ("control", ("generate", "img2img", "inpaint", "outpaint")),
        ("ip_adapter_weights", ("generate", "img2img", "inpaint", "outpaint", "style")),
        ("fit", ("img2img", "inpaint", "blend", "style")),
        ("image_guidance", ("img2img",)),
        ("mask_box", ("inpaint",)),
        ("feather", ("inpaint", "outpaint")),
        ("pad", ("outpaint",)),
        ("mutate", ("blend",)),
        ("like", ("style",)),
        ("steps", ()),
    ],
)
def test_an_option_names_the_commands_that_have_it(option, commands):
    assert tasks.commands(option) == commands


def test_every_option_is_listed_once_and_none_that_all_tasks_have():
    listed = tasks.options()
    assert len(set(listed)) == len(listed)
    assert {option for task in TASKS.values() for option in task.options} == set(listed)
    assert all(len(tasks.commands(option)) < len(TASKS) for option in listed)


def test_tasks_without_words_have_no_example_and_the_others_one_of_their_command():
    assert [name for name, task in TASKS.items() if task.wordless] == ["blend", "style"]
    assert [name for name, task in TASKS.items() if task.repaints] == ["inpaint", "outpaint"]
    for task in TASKS.values():
        assert task.example.startswith("" if task.wordless else f"imggen {task.command} ")
        assert bool(task.example) is not task.wordless
