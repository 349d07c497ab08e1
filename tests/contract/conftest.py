from tests.servers.stores import ministack, rclone, s3_server

__all__ = ["ministack", "rclone", "s3_server"]
