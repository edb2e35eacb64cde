"""An error that ends a Kafka producer, whatever it reports just then.

A broker that has forgotten a producer ends it so, now and then: Python's complaint is as it was
seen then, since a client cannot be asked to do so.
"""

import pytest
from confluent_kafka import KafkaError, KafkaException

from reactive_demo.sinks.kafka import fatal_errors_raised

COMPLAINT = "<method 'append' of 'list' objects> returned a result with an exception set"


def test_it_is_raised_in_place_of_pythons_complaint() -> None:
    ended = KafkaException(KafkaError(KafkaError.UNKNOWN_PRODUCER_ID))
    with pytest.raises(KafkaException) as error, fatal_errors_raised():
        raise SystemError(COMPLAINT) from ended
    assert error.value is ended


def test_any_other_complaint_stays() -> None:
    with pytest.raises(SystemError, match="something else"), fatal_errors_raised():
        raise SystemError("something else")
