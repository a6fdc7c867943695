"""The connection side of the broker."""

import time
from pathlib import Path

import pytest

from shared.broker import (
    QUEUE,
    check_broker,
    give_back,
    look_at_queue,
    look_at_queue_age,
    make_app,
    publish_tasks,
    renew_deliveries,
    without_password,
)
from shared.broker_server import embedded_broker
from shared.errors import BrokerError
from shared.messages import ShardTask, task_from_message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://camshard:secret@host:6379/0", "redis://camshard:**@host:6379/0"),
        ("rediss://:secret@host/1", "rediss://:**@host/1"),
        ("redis://host:6379/0?password=secret", "redis://host:6379/0"),
        ("redis://:sec#ret@host:6379/0", "redis://**"),
        ("redis+socket:///tmp/x/broker.sock", "redis+socket:///tmp/x/broker.sock"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://camshard:secret@127.0.0.1:1/0", r"broker redis://camshard:\*\*@127.*Connection refused"),
        ("redis://:secret@127.0.0.1:1/zz", "not reachable: Database is int"),
        (
            "amqp://camshard:secret@127.0.0.1/",
            "a Redis URL is wanted: redis://, rediss:// or redis.socket://",
        ),
        ("redis://:sec/secret@127.0.0.1/0", r"broker redis://\*\*: no URL .* written as %2F"),
        ("redis://h/0?password=secret", r"broker redis://h/0: no URL .* before the \? alone"),
        ("rediss://:secret@h/0?ssl_cert_reqs=some", r"broker rediss://:\*\*@h/0: no URL .* optional or none"),
        ("localhost:6379", "a Redis URL is wanted"),
    ],
)
def test_a_broker_that_does_not_answer_is_named_without_its_password(url: str, text: str) -> None:
    with pytest.raises(BrokerError, match=text) as caught:
        check_broker(make_app(url))
    assert "secret" not in str(caught.value)


def test_an_unreachable_broker_says_how_to_start_one() -> None:
    with pytest.raises(BrokerError, match=r"redis-server --appendonly yes.*--broker.*camshard run"):
        check_broker(make_app("redis://127.0.0.1:1/0"))


def test_tasks_are_json_and_acknowledged_late() -> None:
    conf = make_app("redis://host").conf
    assert (conf.task_serializer, conf.accept_content) == ("json", ["json"])
    assert (conf.task_acks_late, conf.worker_disable_prefetch, conf.task_ignore_result) == (True, True, True)


@pytest.mark.service
def test_published_tasks_wait_in_the_queue_with_their_image_ids() -> None:
    tasks = [ShardTask(Path("/runs/a"), "0123456789ab", shard, (f"id{shard}",)) for shard in range(3)]
    with embedded_broker() as url:
        app = make_app(url)
        publish_tasks(app, tasks)
        assert look_at_queue(app) == (3, 0)
        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue(QUEUE)
            bodies = [queue.get(timeout=5) for _ in tasks]
            assert [task_from_message(one.payload[0][0]) for one in bodies] == tasks
            assert look_at_queue(app) == (0, 3)
            for one in bodies:
                one.ack()
            queue.close()
        assert look_at_queue(app) == (0, 0)
        app.close()


@pytest.mark.service
def test_the_deadline_of_a_message_at_work_is_put_off_and_one_that_is_gone_is_not_made_anew() -> None:
    with embedded_broker() as url:
        app = make_app(url)
        publish_tasks(app, [ShardTask(Path("/runs/a"), "0123456789ab", 0, ("id",))])
        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue(QUEUE)
            tag = queue.get(timeout=5).delivery_tag
            client = connection.default_channel.client
            client.zadd("unacked_index", {tag: 5.0})
            before = time.time()
            renew_deliveries(app, [tag, "acknowledged"])
            ((known, at),) = client.zrange("unacked_index", 0, -1, withscores=True)
            assert (known.decode(), before <= at <= time.time()) == (tag, True)
            queue.close()
        app.close()


@pytest.mark.service
def test_what_a_dead_worker_held_is_given_back_and_comes_next() -> None:
    tasks = [ShardTask(Path("/runs/a"), "0123456789ab", shard, ("id",)) for shard in range(3)]
    with embedded_broker() as url:
        app = make_app(url)
        publish_tasks(app, tasks)
        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue(QUEUE)
            tag = queue.get(timeout=5).delivery_tag
            assert look_at_queue(app) == (2, 1)
            give_back(app, [tag, "acknowledged"])
            assert look_at_queue(app) == (3, 0)
            again = queue.get(timeout=5)
            assert (again.delivery_tag, task_from_message(again.payload[0][0]).shard) == (tag, 0)
            queue.close()
        app.close()


@pytest.mark.service
def test_the_age_of_the_queue_is_that_of_the_task_that_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [ShardTask(Path("/runs/a"), "0123456789ab", shard, ("id",)) for shard in range(2)]
    with embedded_broker() as url:
        app = make_app(url)
        assert look_at_queue_age(app) == (0, 0, 0.0)
        now = time.time()
        for task, age_s in zip(tasks, (60, 5), strict=True):
            monkeypatch.setattr("shared.broker.time.time", lambda age_s=age_s: now - age_s)
            publish_tasks(app, [task])
        monkeypatch.setattr("shared.broker.time.time", lambda: now)
        assert look_at_queue_age(app) == (2, 0, pytest.approx(60))
        app.close()
