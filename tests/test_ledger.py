"""The record of a search, as Optuna and a later process read it."""

import sqlite3
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from safelight.errors import RunError
from safelight.evolution.genetic import Individual
from safelight.evolution.genome import Gene, Space
from safelight.evolution.ledger import Ledger, table_hash, trials_of
from safelight.evolution.samplers import distribution_of

SPACE = Space(
    {
        "training.lr": Gene("log-float", 1e-8, 1.0),
        "training.batch_size": Gene("integer", 10, 128),
        "network.activation": Gene("categorical", choices=("relu", "silu")),
        "network.hidden": Gene("log-integer", 8, 64, when={"network.activation": ("silu",)}),
    }
)
VALUES = {"training.lr": 3.3e-7, "training.batch_size": 17, "network.activation": "relu"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


def test_a_trial_is_whole_from_the_start(path):
    ledger = Ledger(path, SPACE, "print")
    number = ledger.ask(VALUES, "offspring", (3, 5))
    (row,) = trials_of(path)
    assert (row.number, row.values, row.origin, row.parents) == (number, VALUES, "offspring", (3, 5))
    assert not row.is_done
    assert row.fitness is None


def test_outcomes_come_back_to_the_bit(path):
    ledger = Ledger(path, SPACE, "print")
    for _ in range(3):
        ledger.ask(VALUES, "immigrant", ())
    ledger.report(0, 1, 1 / 3)
    ledger.note(0, seconds=1.5, curve=[0.1, 0.2], parameters=7)
    ledger.tell(0, (1 / 3,))
    ledger.tell(2, None, "diverged")
    rows = Ledger(path, SPACE, "print").trials()
    assert rows == ledger.trials() == trials_of(path)
    assert rows[0].fitness == (1 / 3,)
    assert rows[0].losses == {1: 1 / 3}
    assert (rows[0].seconds, rows[0].curve, rows[0].parameters) == (1.5, (0.1, 0.2), 7)
    assert [row.is_done for row in rows] == [True, False, True]
    assert (rows[2].fitness, rows[2].failure) == (None, "diverged")


def test_a_generation_comes_back_to_the_bit(path):
    ledger = Ledger(path, SPACE, "print")
    rng = np.random.default_rng(3)
    asked = [
        Individual(tuple(map(float, rng.random(len(SPACE)))), "offspring", (i, i + 1)) for i in range(40)
    ]
    assert ledger.generation(0) is None
    ledger.begin(0, asked, rng.bit_generator.state)
    individuals, state = Ledger(path, SPACE, "print").generation(0)
    assert individuals == asked
    again = np.random.default_rng()
    again.bit_generator.state = state
    assert again.random() == rng.random()


@pytest.mark.parametrize(
    ("genotype", "words"),
    [
        ([0.5], "expected 4 numbers from 0 to 1"),
        ([0.5, 0.5, 0.5, 7.0], "expected 4 numbers from 0 to 1"),
        (["a", "b"], "generation 0: "),
    ],
)
def test_a_damaged_generation_is_refused(genotype, words, path):
    Ledger(path, SPACE, "print")
    study = optuna.load_study(study_name="safelight", storage=f"sqlite:///{path}")
    individual = {"genotype": genotype, "origin": "offspring", "parents": []}
    study.set_user_attr("generation-0", {"individuals": [individual], "state": {}})
    with pytest.raises(RunError, match=words):
        Ledger(path, SPACE, "print").generation(0)


def test_one_that_was_killed_before_it_ran_is_taken_up(path):
    Ledger(path, SPACE, "print")
    study = optuna.load_study(study_name="safelight", storage=f"sqlite:///{path}")
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=VALUES,
            distributions={name: distribution_of(SPACE.genes[name]) for name in VALUES},
        )
    )
    ledger = Ledger(path, SPACE, "print")
    assert ledger.trial(0).values == VALUES
    ledger.tell(0, (1.0,))
    assert ledger.ask(VALUES | {"training.batch_size": 18}, "offspring", ()) == 1


def test_another_fingerprint_is_refused(path):
    Ledger(path, SPACE, "print")
    with pytest.raises(RunError, match="got another search's"):
        Ledger(path, SPACE, "other")


def test_the_hash_is_of_everything_but_times(path):
    ledger = Ledger(path, SPACE, "print")
    ledger.ask(VALUES, "offspring", ())
    ledger.report(0, 1, 2.0)
    ledger.tell(0, (2.0,))
    (row,) = ledger.trials()
    same = replace(row, seconds=99.0)
    assert table_hash([row]) == table_hash([same])
    changes = {
        "number": 1,
        "values": VALUES | {"training.lr": 1e-6},
        "origin": "immigrant",
        "parents": (0,),
        "fitness": (2.0000000000000004,),
        "failure": "diverged",
        "losses": {1: 2.5},
        "curve": (1.0,),
    }
    for name, value in changes.items():
        assert table_hash([replace(row, **{name: value})]) != table_hash([row]), name


def test_optuna_reads_it(path):
    ledger = Ledger(path, SPACE, "print")
    for i in range(4):
        ledger.ask(VALUES | {"training.batch_size": 20 + i}, "offspring", ())
        ledger.tell(i, (float(abs(i - 2)),))
    study = optuna.load_study(study_name="safelight", storage=f"sqlite:///{path}")
    assert study.best_params == VALUES | {"training.batch_size": 22}


def test_what_is_no_study_is_refused(path):
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(RunError, match="cannot be read or written as a study"):
        Ledger(path, SPACE, "print")
    with pytest.raises(RunError, match="cannot be read or written as a study"):
        trials_of(path)
    assert trials_of(path.with_name("none.db")) == []  # as of a search that has only begun


def test_a_locked_or_broken_database_says_so(path):
    ledger = Ledger(path, SPACE, "print")
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE trial_params")
    connection.close()
    with pytest.raises(RunError, match="restore the file"):
        ledger.ask(VALUES, "offspring", ())
