import json


def warnings(written):
    lines = [json.loads(line) for line in written().out.splitlines()]
    return [line for line in lines if line["event"] == "setting_deprecated"]


def test_a_setting_under_its_former_name_is_warned_about_once_with_the_new_one(app_with, written):
    app_with(MICRO_CACHE_SECONDS="1")

    (warning,) = warnings(written)
    assert (warning["level"], warning["setting"], warning["instead"]) == (
        "warning",
        "MICRO_CACHE_SECONDS",
        "LOCAL_CACHE_SECONDS",
    )


def test_without_it_there_is_no_warning(app_with, written):
    app_with(LOCAL_CACHE_SECONDS="1", MICRO_CACHE_SECONDS="")

    assert not warnings(written)
