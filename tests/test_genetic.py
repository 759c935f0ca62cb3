"""Asking and telling: operators by their known properties, algorithms on landscapes of known shape."""

import json
import math
import time
from functools import cache

import numpy as np
import pytest
from scipy.special import ndtr

from safelight.errors import ConfigError, RunError
from safelight.evolution.genetic import (
    GeneticAlgorithm,
    Individual,
    RandomSearch,
    Truncation,
    initial_design,
    key_of,
    polynomial_mutation,
    simulated_binary_crossover,
)
from safelight.evolution.genome import Gene, Space
from safelight.evolution.ranking import normal_scores, order
from safelight.evolution.samplers import nsga2, tpe

SPACE = Space(
    {
        "training.lr": Gene("log-float", 1e-6, 1.0),
        "training.gamma": Gene("float", 0.0, 1.0),
        "training.batch_size": Gene("integer", 10, 128),
        "network.activation": Gene("categorical", choices=("relu", "silu", "gelu", "elu")),
    }
)
MAKERS = {
    "ga": GeneticAlgorithm,
    "truncation": Truncation,
    "random": RandomSearch,
    "nsga2": nsga2,
    "tpe": tpe,
}


def loss(values) -> float:
    """A valley: one rate, a decay, a size and an activation are best."""
    near = (
        (math.log10(values["training.lr"]) + 2) ** 2
        + (values["training.gamma"] - 0.3) ** 2
        + ((values["training.batch_size"] - 40) / 100) ** 2
    )
    return near + (values["network.activation"] != "silu")


def run(name, seed, generations=8, population=10, space=SPACE, measure=loss):
    start = initial_design(space, population, seed)
    algorithm = MAKERS[name](space, population, seed, start)
    asked, told = [], []
    for _ in range(generations):
        individuals = algorithm.ask()
        fitnesses = [(measure(space.decode(i.genotype)),) for i in individuals]
        algorithm.tell(fitnesses)
        asked += individuals
        told += fitnesses
    return asked, told


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_asks_the_same_questions(name):
    first, second, other = run(name, 1, 4), run(name, 1, 4), run(name, 2, 4)
    assert first == second
    assert first != other


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_is_asked_twice(name):
    asked, _ = run(name, 3)
    assert len(asked) == 80
    assert len({key_of(SPACE, individual.genotype) for individual in asked}) == 80


@pytest.mark.parametrize("name", MAKERS)
def test_all_start_from_the_same_individuals(name):
    assert run(name, 5, 1)[0] == initial_design(SPACE, 10, 5)


@cache
def least(name, seed):
    return min(run(name, seed)[1])[0]


@pytest.mark.parametrize("name", ["ga", "truncation", "tpe"])
def test_searching_beats_drawing(name):
    ours, drawn = ([least(which, seed) for seed in range(6)] for which in (name, "random"))
    assert np.median(ours) < 0.5 * np.median(drawn)


def test_children_that_a_model_chose_beat_those_taken_as_they_come(monkeypatch):
    chosen = [least("ga", seed) for seed in range(6)]
    monkeypatch.setattr(GeneticAlgorithm, "candidates", 1)
    assert np.median(chosen) < 0.5 * np.median([min(run("ga", seed)[1])[0] for seed in range(6)])


def hidden(values):
    return values["network.hidden"]


@pytest.mark.parametrize(
    ("name", "bound"), [*((name, 49) for name in MAKERS), ("ga", 40), ("truncation", 40), ("random", 40)]
)
@pytest.mark.parametrize("batch", [2, 3, 7])
def test_the_contract_of_asking_and_telling(name, bound, batch):
    """Batches of any length, cut at any place: in the space, without a question twice, the same again."""
    space = Space(
        {"network.hidden": Gene("integer", 10, 49), "task.beta": Gene("categorical", choices=(1, 2))},
        lambda values: hidden(values) / bound,
    )

    def ask(cut):
        algorithm = MAKERS[name](space, batch, 1, initial_design(space, batch, 1))
        asked = []
        for turn in range(6):
            individuals = algorithm.ask()
            assert len(individuals) == batch
            tried = individuals[: batch - 1 - turn % batch if cut else batch]
            algorithm.tell([(hidden(space.decode(i.genotype)) % 7,) for i in tried])
            asked += individuals
        return asked

    for cut in (False, True):
        asked = ask(cut)
        assert asked == ask(cut)
        assert len({key_of(space, i.genotype) for i in asked}) == len(asked)
        assert all(space.repair(i.genotype) == i.genotype for i in asked)


def test_bounds_are_looked_up_for_those_to_try_alone():
    """What a network costs takes longer to find than a child to breed, of which there are many more."""
    looked_up = []

    def excess(values):
        looked_up.append(values)
        return hidden(values) / 400

    space = Space({"network.hidden": Gene("integer", 10, 999), "task.beta": Gene("float", 1, 2)}, excess)
    algorithm = GeneticAlgorithm(space, 10, 0, initial_design(space, 10, 0))
    algorithm.tell([(abs(hidden(space.decode(i.genotype)) - 380),) for i in algorithm.ask()])
    looked_up.clear()
    assert len(algorithm.ask()) == 10
    assert 10 <= len(looked_up) < 10 * GeneticAlgorithm.candidates


def test_a_bounded_space_is_used_up():
    space = Space({"network.hidden": Gene("integer", 1, 90)}, lambda values: hidden(values) / 9)
    algorithm = GeneticAlgorithm(space, 4, 0, initial_design(space, 4, 0))
    asked = []
    while individuals := algorithm.ask():
        algorithm.tell([(hidden(space.decode(i.genotype)),) for i in individuals])
        asked += [hidden(space.decode(i.genotype)) for i in individuals]
    assert sorted(asked) == list(range(1, 10))


@pytest.mark.parametrize("name", MAKERS)
def test_recalling_goes_on_as_asking_did(name):
    def turn(algorithm):
        individuals = algorithm.ask()
        state = json.loads(json.dumps(algorithm.state))
        fitnesses = [(loss(SPACE.decode(i.genotype)),) for i in individuals]
        algorithm.tell(fitnesses)
        return individuals, state, fitnesses

    start = initial_design(SPACE, 6, 4)
    first, second = MAKERS[name](SPACE, 6, 4, start), MAKERS[name](SPACE, 6, 4, start)
    for individuals, state, fitnesses in [turn(first) for _ in range(3)]:
        second.recall(individuals, state)
        second.tell(fitnesses)
    assert [turn(first)[0] for _ in range(2)] == [turn(second)[0] for _ in range(2)]


def test_what_is_recalled_is_taken_to_the_last_bit():
    """As another machine may have bred it; a sampler, which can only ask again, refuses it."""
    start = initial_design(SPACE, 4, 0)
    found = {}
    for name in ("ga", "tpe"):
        algorithm = MAKERS[name](SPACE, 4, 0, start)
        algorithm.tell([(loss(SPACE.decode(i.genotype)),) for i in algorithm.ask()])
        found[name] = algorithm
    child = Individual((0.6, 0.25 + 2**-50, 0.3, 0.4), "offspring", (0, 1))
    generation = [child] * 4
    found["ga"].recall(generation, found["ga"].state)
    found["ga"].tell([(-1.0,)] * 4)  # better than all others, so that it is a parent
    children = found["ga"].ask()
    assert any(parent in range(4, 8) for i in children for parent in i.parents)
    assert all(key_of(SPACE, i.genotype) != key_of(SPACE, child.genotype) for i in children)
    with pytest.raises(RunError, match="got others: the record is another search's"):
        found["tpe"].recall(generation, {})
    with pytest.raises(RunError, match="expected the state of a PCG64 generator"):
        found["ga"].recall([], {"bit_generator": "MT19937"})


@pytest.mark.parametrize("name", MAKERS)
def test_a_small_space_is_used_up(name):
    space = Space({"network.activation": Gene("categorical", choices=("relu", "silu", "elu"))})
    start = initial_design(space, 10, 0)
    assert len(start) == 3
    algorithm = MAKERS[name](space, 10, 0, start)
    algorithm.tell([(1.0,) for _ in algorithm.ask()])
    assert algorithm.ask() == []


def test_a_latin_hypercube_fills_every_row():
    design = initial_design(SPACE, 20, 7)
    for gene in range(3):
        assert sorted(int(20 * individual.genotype[gene]) for individual in design) == list(range(20))


def test_known_values_come_first():
    known = {"training.lr": 0.01, "training.gamma": 0.5, "training.batch_size": 64}
    first = initial_design(SPACE, 5, 0, [known])[0]
    assert first.origin == "known"
    assert SPACE.decode(first.genotype) == known | {"network.activation": "gelu"}  # the middle of four


def test_parents_are_the_best_so_far_and_never_failures():
    start = initial_design(SPACE, 10, 0)
    algorithm = GeneticAlgorithm(SPACE, 10, 0, start)
    algorithm.ask()
    algorithm.tell([(math.inf,) if i in (1, 3) else (float(i),) for i in range(10)])
    for generation in range(1, 6):
        individuals = algorithm.ask()
        parents = {p for i in individuals for p in i.parents}
        assert parents <= {0, 2, 4, 5, 6}  # half of a population: elders stay while they are the best
        algorithm.tell([(100.0 + generation,) for _ in individuals])
    assert {individual.origin for individual in individuals} == {"offspring"}


def test_without_survivors_everything_is_drawn_afresh():
    algorithm = GeneticAlgorithm(SPACE, 6, 0, initial_design(SPACE, 6, 0))
    algorithm.tell([(math.inf,) for _ in algorithm.ask()])
    assert {i.origin for i in algorithm.ask()} == {"immigrant"}


def test_order_is_deb_and_others_fronts():
    rng = np.random.default_rng(0)
    points = [tuple(map(float, p)) for p in rng.integers(0, 12, (60, 2))]
    ranks = {}
    left = set(range(60))
    level = 0
    while left:  # by the definition: a front is what no other dominates
        front = {
            i
            for i in left
            if not any(
                all(a <= b for a, b in zip(points[j], points[i], strict=True)) and points[j] != points[i]
                for j in left
            )
        }
        ranks |= dict.fromkeys(front, level)
        left -= front
        level += 1
    got = [ranks[i] for i in order(points)]
    assert got == sorted(got)
    assert level > 3


@pytest.mark.parametrize("objectives", [1, 2])
def test_the_time_of_ordering_is_no_cube(objectives):
    fitnesses = [(float(f),) * objectives for f in np.random.default_rng(0).permutation(2000)]
    started = time.process_time()
    ranking = order(fitnesses)
    assert time.process_time() - started < 1
    assert ranking == sorted(range(2000), key=lambda i: fitnesses[i])
    assert order([]) == []


def test_order_puts_failures_last():
    assert order([(math.inf,), (2.0,), (math.inf,), (1.0,)]) == [3, 1, 0, 2]


def test_failures_share_a_score():
    scores = normal_scores([(2.0,), (math.inf,), (1.0,), (math.inf,), (math.inf,)])
    assert np.isclose(ndtr(scores), [0.3, 0.7, 0.1, 0.7, 0.7]).all()


def test_the_ends_of_a_front_come_before_its_crowd():
    front = [(0.0, 10.0), (4.9, 5.1), (5.0, 5.0), (5.1, 4.9), (10.0, 0.0)]
    assert set(order(front)[:2]) == {0, 4}
    assert order(front)[-1] == 2


def test_crossover_keeps_to_the_range_and_to_its_parents():
    rng = np.random.default_rng(0)
    a, b = np.full(20_000, 0.2), np.full(20_000, 0.6)
    child = simulated_binary_crossover(a, b, 5.0, rng)
    assert child.min() >= 0
    assert child.max() <= 1
    nearest = np.minimum(abs(child - 0.2), abs(child - 0.6))
    assert np.median(nearest) < 0.02
    assert np.mean(child == 0.2) == pytest.approx(0.25, abs=0.02)  # half of the genes are not crossed
    wide = simulated_binary_crossover(a, b, 1.0, rng)
    assert wide.std() > child.std()


def test_crossover_spreads_children_as_its_density_says():
    """Far from the bounds half of the children lie inside their parents, as the distribution has it."""
    rng = np.random.default_rng(0)
    a, b = np.full(40_000, 0.499), np.full(40_000, 0.501)
    child = simulated_binary_crossover(a, b, 2.0, rng)
    crossed = child[(child != a) & (child != b)]
    inside = (crossed > 0.499) & (crossed < 0.501)
    assert inside.mean() == pytest.approx(0.5, abs=0.02)
    beta = np.abs(crossed - 0.5) / 0.001
    assert np.quantile(beta[inside[: len(beta)]], 0.5) == pytest.approx(0.5 ** (1 / 3), abs=0.02)


def test_mutation_stays_near_and_in_range():
    rng = np.random.default_rng(0)
    for x in (0.0, 0.3, 1.0):
        moved = polynomial_mutation(np.full(20_000, x), 10.0, rng)
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert 0 < np.abs(moved - x).mean() < 0.12
    near = polynomial_mutation(np.full(20_000, 0.5), 100.0, rng)
    assert near.std() < moved.std() / 3


def test_truncations_step_has_a_floor():
    space = Space({"training.gamma": Gene("float", 0.0, 1.0)})
    algorithm = Truncation(space, 10, 0, initial_design(space, 10, 0))
    children = [algorithm._breed(np.array([0.5]), np.array([0.5]))[0] for _ in range(2000)]
    moved = [c for c in children if c != 0.5]
    assert 0.15 < len(moved) / 2000 < 0.25
    assert np.std(moved) == pytest.approx(0.05, rel=0.15)


def test_a_population_of_one_is_refused():
    with pytest.raises(ConfigError, match="population: expected at least 2, got 1"):
        GeneticAlgorithm(SPACE, 1, 0, [])
