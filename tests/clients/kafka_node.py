"""Apache Kafka 4.3.1 in the place of a node: what the client drivers run against with CLIENT_BROKER=kafka, to tell a defect
of ours from a habit of a client. Its jars (kafka_2.13 and what it needs) lie in KAFKA_JARS."""
import os
import pathlib
import subprocess
import time

from node import WORK, Node, free_port

JARS = os.environ.get("KAFKA_JARS", "")


class KafkaNode(Node):
    def __init__(self, data, *settings, port=None):
        """`settings` are of the form key=value."""
        self.port, self.data = port or free_port(), pathlib.Path(data)
        WORK.mkdir(parents=True, exist_ok=True)
        self.log_path = WORK / f"kafka-{self.port}.log"
        properties = WORK / f"kafka-{self.port}.properties"
        controller = free_port()
        properties.write_text("\n".join([
            "process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{controller}",
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}", "controller.listener.names=CONTROLLER",
            f"log.dirs={self.data}", "offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1", *settings,
        ]))
        java = ["java", "-Xmx512m", "-cp", f"{JARS}/*"]
        with open(self.log_path, "w") as log:
            if not self.data.exists():
                format_storage = ["kafka.tools.StorageTool", "format", "-t", "Y2xpZW50cy11bmRlci10ZQ", "-c", properties]
                subprocess.run([*java, *format_storage], stdout=log, stderr=log, check=True)
            self.process = subprocess.Popen([*java, "kafka.Kafka", properties], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.wait()
        time.sleep(1)
