"""Five brokers behind one small interface, and what each keeps of its promises.

broker      the interface: publish, subscribe, read, acknowledge
notify      PostgreSQL's NOTIFY
pubsub      Redis Pub/Sub
streams     Redis Streams
rabbitmq    RabbitMQ
kafka       Kafka, or what speaks its protocol
lab         servers of its own, whose brokers may be killed
experiments what is done to all five
results     what happened, beside what the last run saw
figures     latency, messages a second, what the writer waits for
doomed      a reader that is killed half-way
"""

from reactive_demo.tutorial.brokers.broker import Broker, Reader

__all__ = ["Broker", "Reader"]
