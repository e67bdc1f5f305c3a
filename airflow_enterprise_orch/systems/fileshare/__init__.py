"""File shares: S3, SFTP and SMB behind one contract of delivery."""
