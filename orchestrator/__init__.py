"""Plan, drive and collect a sweep. Nothing here touches a tensor; Ray is imported only where it is used."""
